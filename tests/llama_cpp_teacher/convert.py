"""Hugging Face checkpoint folder -> GGUF in f32, by llama.cpp's own converter, with one repair.

    convert.py CONVERTER_FOLDER CHECKPOINT_FOLDER OUTPUT.gguf

The converter gives every token of a Llama tokenizer.json the same score. llama.cpp merges the pair with the best
score first, so equal scores tokenize 185 of 200 paragraphs otherwise than the tokenizer says. In these vocabularies
ids follow merge order; the score -id, which sentencepiece itself writes for BPE, makes all 200 equal. Byte-level
BPE (SmolLM2's own tokenizer) carries its merges and is not touched.
"""

import runpy
import sys


def main():
    converter, checkpoint, output = sys.argv[1:]
    sys.path[:0] = [converter, f"{converter}/gguf-py"]
    import gguf  # the converter's own copy, which is why it is imported after the path is set

    gguf.LlamaHfVocab.get_token_score = lambda self, token_id: -float(token_id)
    script = f"{converter}/convert_hf_to_gguf.py"
    sys.argv = [script, checkpoint, "--outtype", "f32", "--outfile", output]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
