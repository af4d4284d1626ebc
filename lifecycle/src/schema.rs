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
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
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

    /// The schema as a person would read it; run with `--nocapture`.
    #[test]
    fn no_field_may_be_null() {
        let text = schema().to_string();
        assert!(!text.contains("null"), "{text}");
    }
}
