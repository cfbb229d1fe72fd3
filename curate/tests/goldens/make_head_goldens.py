"""Linear layers of scikit-learn on small vectors, for the tests of `curate/src/classifier/head.rs`.

    pip install scikit-learn==1.7.2
    python curate/tests/goldens/make_head_goldens.py

The vectors are normalized, as an encoder's often are; scores are 0 to 5 with noise, and the label is a score of at least 3.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score

draw = np.random.default_rng(0)
vectors = draw.normal(size=(240, 12)) + draw.normal(size=12)
vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
scores = np.clip(np.round(2.5 + 4 * (vectors - vectors.mean(0)).astype(float) @ draw.normal(size=12) + draw.normal(size=240) * 0.5), 0, 5)
labels = (scores >= 3).astype(float)
train = slice(0, 200)
golden = {"vectors": [[float(f"{x:.9g}") for x in row] for row in vectors.tolist()], "scores": scores.tolist(), "train": 200, "heads": []}
for penalty in (0.01, 1.0):
    ridge = Ridge(alpha=penalty, solver="cholesky").fit(vectors[train].astype(float), scores[train])
    logistic = LogisticRegression(C=1 / penalty, tol=1e-12, max_iter=10_000, solver="newton-cholesky").fit(vectors[train].astype(float), labels[train])
    for kind, said in (
        ("ridge", ridge.predict(vectors[200:].astype(float))),
        ("logistic", logistic.predict_proba(vectors[200:].astype(float))[:, 1]),
    ):
        cut = 2.5 if kind == "ridge" else 0.5
        golden["heads"].append({"kind": kind, "penalty": penalty, "scores": said.tolist(), "f1": f1_score(labels[200:], said >= cut)})
(Path(__file__).parent / "heads.json").write_text(json.dumps(golden) + "\n")
