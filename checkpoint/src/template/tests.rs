//! Templates as transformers renders them, and what ends one that takes too much.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use serde_json::json;

fn render(source: &str, messages: &serde_json::Value) -> Result<String, Error> {
    ChatTemplate::new(source, "<s>", "</s>")?.render(messages, None, false)
}

#[test]
fn python_methods_loop_controls_and_generation_blocks_work() {
    let source = "{%- for m in messages %}\n  {%- if m.role == 'skip' %}{% continue %}{% endif %}\n{% generation %}{{ m['content'].strip() | upper }}{% endgeneration %}{%- endfor -%}\n{{ bos_token }}";
    let messages = json!([{"role": "skip", "content": "no"}, {"role": "user", "content": " hi "}]);
    assert_eq!(render(source, &messages).unwrap(), "HI<s>");
}

#[test]
fn tojson_prints_as_python() {
    // Source: json.dumps([...], ensure_ascii=False) of CPython 3.11.
    let value = json!([{"a": 1, "b": [1.0, 2.5e-7, true, null], "c": "é\"\u{7f}/<'"}, [], {}]);
    assert_eq!(
        render("{{ messages | tojson }}", &value).unwrap(),
        "[{\"a\": 1, \"b\": [1.0, 2.5e-07, true, null], \"c\": \"é\\\"\u{7f}/<'\"}, [], {}]"
    );
    assert_eq!(
        render("{{ messages[0].b | tojson(indent=2) }}", &value).unwrap(),
        "[\n  1.0,\n  2.5e-07,\n  true,\n  null\n]"
    );
    assert!(render("{{ messages | tojson(ensure_ascii=true) }}", &value).unwrap().contains("\\u00e9"));
}

#[test]
fn none_is_not_iterable() {
    // Source: jinja2 3.1: `none is iterable` is False, an undefined name, a string and a list are.
    let source = "{{ none is iterable }} {{ nothing is iterable }} {{ 'a' is iterable }} {{ [] is iterable }} {{ 1 is iterable }}";
    assert_eq!(render(source, &json!([])).unwrap().to_lowercase(), "false true true true false");
    let source = "{% if tools is iterable and tools | length > 0 %}tools{% else %}none{% endif %}";
    assert_eq!(render(source, &json!([])).unwrap(), "none");
}

#[test]
fn lists_and_objects_are_printed_as_python_prints_them() {
    // Source: jinja2 3.1 over the same values.
    let messages = json!([{"role": "user", "content": ["it's", null, true]}]);
    let source = "{{ messages }} {{ messages[0].content | string }} {{ (messages[0].content[1:]) }} {{ 0.5 }} {{ [none] | upper }}";
    assert_eq!(
        render(source, &messages).unwrap(),
        "[{'role': 'user', 'content': [\"it's\", None, True]}] [\"it's\", None, True] [None, True] 0.5 [NONE]"
    );
    let itself = "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}{{ ns | string }}";
    let _ = render(itself, &messages);
}

#[test]
fn broken_tags_and_deep_chains_are_errors_or_work() {
    for source in ["{%}", "{{%}", "{%}%}", "{%-%}", "{% if %}"] {
        let _ = ChatTemplate::new(source, "", "");
    }
    for source in [
        format!("{{{{ {} true }}}}", "not ".repeat(50_000)),
        format!("{{{{ messages{} }}}}", ".a".repeat(50_000)),
        format!("{{{{ messages{} }}}}", " | string".repeat(20_000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)),
        "a".repeat(MAX_SOURCE + 1),
    ] {
        let _ = ChatTemplate::new(&source, "", "");
    }
    let error = render("{{ strftime_now('%!') }}", &json!([])).unwrap_err().to_string();
    assert!(error.contains("strftime_now"), "{error}");
}

#[test]
fn what_filters_and_templates_print_is_bounded() {
    let loops = |begin: &str, end: &str| format!("{}{}", begin.repeat(9), end.repeat(9));
    let doubled = "{% set ns = namespace(t='a' * 1000000) %}";
    for (source, reason) in [
        (format!("{doubled}{{{{ ns.t | replace('a', ns.t) }}}}"), "replace"),
        ("{{ 'a' | replace('', 'b') | indent(100000000, true) }}".to_owned(), "indent"),
        (format!("{doubled}{{% for i in range(100) %}}{{{{ ns.t }}}}{{% endfor %}}"), "prints more than"),
        (loops("{% for i in range(10000) %}", "{% endfor %}"), "steps"),
        (loops("{% for i in 'abcdefghijklmnopqrstuvwxyz' %}", "{% endfor %}"), "steps"),
    ] {
        let error = render(&source, &json!([])).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(
        render("{{ 'aab' | replace('a', 'c', 1) }}{{ 'a\nb' | indent(2) }}", &json!([])).unwrap(),
        "caba\n  b"
    );
}

#[test]
fn variables_reach_the_template_and_replace_none_of_its_own() {
    let template = ChatTemplate::new("{{ enable_thinking }} {{ bos_token }}", "<s>", "").unwrap();
    let variables = json!({"enable_thinking": false, "bos_token": "x"});
    let text = template.render_with(&json!([]), None, true, variables.as_object().unwrap()).unwrap();
    assert_eq!(text.to_lowercase(), "false <s>");
    assert!(template.reads("enable_thinking") && !template.reads("reasoning_effort"));
}

#[test]
fn an_exception_of_the_template_is_in_the_error() {
    let error = render("{{ raise_exception('roles must alternate') }}", &json!([])).unwrap_err();
    assert!(error.to_string().contains("roles must alternate"), "{error}");
}
