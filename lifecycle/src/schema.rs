//! The JSON Schema of a document, generated from the types as written.

use crate::written::Document;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value, json};

/// JSON Schema (draft 2020-12) of a document. It refuses every mistake of form; what holds between values (unique
/// names, needs, cycles, overlapping paths), only [`read`](crate::read()) sees.
pub fn schema() -> Value {
    let schema = SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(no_nulls))
        .with_transform(RecursiveTransform(free_extensions))
        .into_generator()
        .into_root_schema_for::<Document>();
    schema.to_value()
}

/// A field that isn't written is left out; `null` is never a value.
fn no_nulls(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    let before = choices.len();
    choices.retain(|choice| *choice != json!({ "type": "null" }));
    if let (true, [Value::Object(one)]) = (choices.len() < before, choices.as_slice()) {
        let one = one.clone();
        object.remove("anyOf");
        for (key, value) in one {
            object.entry(key).or_insert(value);
        }
    }
}

/// `x-…` is free wherever other unknown fields are refused.
fn free_extensions(schema: &mut Schema) {
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.insert("patternProperties".to_owned(), json!({ "^x-": true }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The decoder's table of fields is written by hand; the schema's comes from types.
    #[test]
    fn the_decoder_knows_the_same_fields() {
        use crate::vocabulary as words;
        let schema = schema();
        let fields = |name: &str| {
            let object = if name.is_empty() { &schema } else { &schema["$defs"][name] };
            let properties = object["properties"].as_object().unwrap_or_else(|| panic!("{name} has no properties"));
            properties.keys().cloned().collect::<std::collections::BTreeSet<String>>()
        };
        let same = |name: &str, objects: &[&words::Object]| {
            let known = objects.iter().flat_map(|object| object.fields).map(|field| (*field).to_owned()).collect();
            assert_eq!(fields(name), known, "{name}");
        };
        same("", &[&words::DOCUMENT]);
        same("Space", &[&words::SPACE]);
        same("User", &[&words::USER]);
        same("Storage", &[&words::STORAGE]);
        same("Home", &[&words::HOME]);
        same("Lifecycle", &[&words::LIFECYCLE]);
        same("Step", &[&words::STEP]);
        same("Git", &[&words::GIT]);
        same("Python", &[&words::PYTHON]);
        same("JupyterlabApp", &[&words::APP, &words::JUPYTERLAB]);
        same("CodeEditorApp", &[&words::APP, &words::CODE_EDITOR]);
        same("CommandApp", &[&words::APP, &words::COMMAND]);
        same("Ready", &[&words::READY]);
        same("KnownReady", &[&words::READY_KNOWN]);
        same("AppRestart", &[&words::APP_RESTART]);
        same("Live", &[&words::LIVE]);
        same("Limits", &[&words::LIMITS]);
        same("Idle", &[&words::IDLE]);
        same("ActionCommand", &[&words::ACTION]);
        same("FrontDoor", &[&words::FRONT_DOOR]);
        same("Tls", &[&words::TLS]);
        same("Stop", &[&words::STOP]);
        same("Agent", &[&words::AGENT]);
        same("Restart", &[&words::RESTART]);
    }

    #[test]
    fn no_field_may_be_null() {
        let text = schema().to_string();
        assert!(!text.contains("null"), "{text}");
    }
}
