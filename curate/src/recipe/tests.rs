//! Recipes that are read, and faults of them that are named.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;

#[test]
fn the_recipes_that_are_built_in_can_be_read() {
    for (name, text) in BUILT_IN {
        let recipe: Recipe = toml::from_str(text).unwrap();
        recipe.check().unwrap();
        assert_eq!(recipe.name, name);
        assert!(
            recipe.source.len() > 20 && recipe.published.len() > 20 && recipe.not_published.len() > 20,
            "{name}"
        );
        let missing = Recipe::read(name, &[], &[]).unwrap_err().to_string();
        assert!(missing.contains("; give `--file "), "{missing}");
    }
}

fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.toml");
    std::fs::write(&path, text).unwrap();
    format!("{:#}", Recipe::read(path.to_str().unwrap(), &[], &[]).unwrap_err())
}

#[test]
fn faults_of_a_recipe_are_named() {
    let refuses = |stages: &str, part: &str| {
        let error = refused(&format!("name = \"a\"\n{stages}"));
        assert!(error.contains(part), "{error}");
    };
    refuses(
        "[[stage]]\nkind = \"extract\"\n[[stage]]\nkind = \"annotate\"\n",
        "unknown variant `annotate`, expected one of `extract`, `url`",
    );
    refuses("[[stage]]\nkind = \"extract\"\nmain = true\n", "unknown field `main`");
    refuses("[[stage]]\nkind = \"c4\"\n", "no stage `extract` before");
    refuses(
        "[[stage]]\nkind = \"extract\"\n[[stage]]\nkind = \"c4\"\n[[stage]]\nkind = \"c4\"\n",
        "`c4` is there twice",
    );
    refuses(
        "[[stage]]\nkind = \"extract\"\n[[stage]]\nkind = \"language\"\nmodel = \"no.ftz\"\nabove = 0.5\n",
        "needs no.ftz, which does not exist",
    );
    let error = Recipe::read("nowhere", &[], &[]).unwrap_err().to_string();
    assert!(error.contains("the recipes are fineweb-edu, dclm"), "{error}");
}

#[test]
fn yaml_and_json_are_read_alike() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Recipe::read(path.to_str().unwrap(), &[], &["pii".to_owned()]).unwrap()
    };
    let toml = write(
        "a.toml",
        "name = \"a\"\n[[stage]]\nkind = \"extract\"\n[[stage]]\nkind = \"c4\"\nkeep_braces = true\n[[stage]]\nkind = \"pii\"\n",
    );
    let yaml = write(
        "a.yaml",
        "name: a\nstage:\n  - kind: extract\n  - kind: c4\n    keep_braces: true\n  - kind: pii\n",
    );
    let json = write(
        "a.json",
        r#"{"name": "a", "stage": [{"kind": "extract"}, {"kind": "c4", "keep_braces": true}, {"kind": "pii"}]}"#,
    );
    assert_eq!(toml, yaml);
    assert_eq!(toml, json);
    assert_eq!(toml.stages.len(), 2);
}

#[test]
fn stages_that_need_a_score_or_a_column_say_so() {
    let refuses = |stages: &str, part: &str| {
        let error = refused(&format!("name = \"a\"\n[[stage]]\nkind = \"extract\"\n{stages}"));
        assert!(error.contains(part), "{error}");
    };
    refuses(
        "[[stage]]\nkind = \"domains\"\nscore = \"math\"\nat_least = 2\nmin_share = 0.1\n",
        "stage `domains` needs the score `math`, which no stage `classifier` gives",
    );
    let classifier = "[[stage]]\nkind = \"classifier\"\nname = \"math\"\nmodel = \"m.bin\"\n";
    refuses(
        &format!("{classifier}[[stage]]\nkind = \"domains\"\nscore = \"math\"\nat_least = 2\n"),
        "`min_share` from 0 to 1, or `min_pages`; `min_share` is 0",
    );
    refuses(&format!("{classifier}at_least_for = {{ Java = 1.5 }}\n"), "`at_least_for` needs `by`");
}
