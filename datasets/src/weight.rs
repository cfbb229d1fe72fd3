//! How much a message or a row adds to the loss, under the names that training programs have for it.

use serde_json::{Map, Value};

/// OpenAI's key; LLaMA-Factory's; axolotl's two; ms-swift's and xtuner's; that of masks.
pub(crate) const NAMES: [&str; 6] = ["weight", "loss_weight", "train", TRAINING, "loss", "loss_mask"];
/// The name that is a word of other columns, too: texts in it are no weights.
const TRAINING: &str = "training";

/// The weight that the fields give, from 0 (not trained) to 1; `None` if they give none.
///
/// # Errors
/// Names a field whose value is no such weight, or two fields that disagree.
pub(crate) fn weight(fields: &Map<String, Value>) -> Result<Option<f64>, String> {
    let mut found: Option<(&str, f64)> = None;
    for name in NAMES {
        let weight = match fields.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) if name == TRAINING && !is_truth(text) => continue,
            Some(Value::Bool(trained)) => f64::from(u8::from(*trained)),
            Some(value) => value.as_f64().filter(|weight| (0.0..=1.0).contains(weight)).ok_or_else(|| {
                format!("`{name}` is {value}; a weight in the loss is true, false or a number from 0 to 1")
            })?,
        };
        match found {
            Some((other, earlier)) if earlier != weight => {
                return Err(format!(
                    "`{other}` and `{name}` give two weights in the loss, {earlier} and {weight}"
                ));
            }
            _ => found = Some((name, weight)),
        }
    }
    Ok(found.map(|(_, weight)| weight))
}

/// Whether a text spells a Boolean or a number, which is no text by mistake alone.
fn is_truth(text: &str) -> bool {
    let text = text.trim();
    ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word)) || text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::weight;
    use serde_json::{Value, json};

    #[test]
    fn weights_are_understood_under_all_their_names_and_others_are_refused() {
        let of = |value: Value| weight(value.as_object().unwrap_or(&serde_json::Map::new()));
        assert_eq!(of(json!({"role": "user"})), Ok(None));
        assert_eq!(of(json!({"weight": null})), Ok(None));
        for zero in [
            json!({"weight": 0}),
            json!({"train": false}),
            json!({"training": false}),
            json!({"loss": 0.0}),
            json!({"loss_mask": 0}),
        ] {
            assert_eq!(of(zero), Ok(Some(0.0)));
        }
        assert_eq!(of(json!({"training": "marathon"})), Ok(None));
        assert!(of(json!({"training": "False"})).is_err_and(|reason| reason.contains("`training` is")));
        assert_eq!(of(json!({"loss_weight": 0.25, "weight": 0.25})), Ok(Some(0.25)));
        for bad in
            [json!({"weight": -0.1}), json!({"loss": "0"}), json!({"loss_weight": 1.5}), json!({"train": []})]
        {
            assert!(of(bad).is_err_and(|reason| reason.contains("from 0 to 1")));
        }
        assert!(of(json!({"weight": 0, "train": true})).is_err_and(|reason| reason.contains("two weights")));
    }
}
