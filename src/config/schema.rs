//! The JSON schema of services.toml, for editors and for other programs.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::Value;

use super::schema_file::File;
use crate::model::CalendarTable;

/// The JSON schema (draft 7, which the TOML editors read), pretty printed, with a newline at the end.
pub fn schema() -> String {
    let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(without_null));
    let schema = settings.into_generator().into_root_schema_for::<File>();
    format!("{:#}\n", schema.to_value())
}

/// TOML has no null: a key that is not wanted is left out.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if let Some(Value::Array(any)) = object.get_mut("anyOf") {
        any.retain(|branch| branch.get("type").is_none_or(|t| t != "null"));
        if let [Value::Object(one)] = any.as_slice() {
            // Draft 7 ignores what stands beside a $ref, so one with a description is wrapped.
            let one = Value::Object(one.clone());
            object.remove("anyOf");
            object.insert("allOf".into(), Value::Array(vec![one]));
        }
    }
}

/// A text that has a form of its own.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $schema:tt) => {
        $(#[$doc])*
        #[derive(Serialize)]
        #[serde(transparent)]
        pub(super) struct $name(pub(super) &'static str);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text_type! {
    /// `10s`.
    DurationText, { "type": "string", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "minLength": 2, "examples": ["250ms", "10s", "1h30m"] }
}
text_type! {
    /// `10MiB`.
    SizeText, { "type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB|KB|MB|GB)$", "examples": ["64KiB", "3GiB", "10MB"] }
}
text_type! {
    /// `10MB/h`.
    RateText, { "type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB|KB|MB|GB)/h$", "examples": ["10MB/h"] }
}
text_type! {
    /// `03:00-05:00`.
    HoursText, { "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", "examples": ["03:00-05:00", "23:30-04:00"] }
}
text_type! {
    /// Absolute, or beginning with `~` or a variable.
    PathText, { "type": "string", "pattern": "^(/|~$|~/|.*\\$\\{)", "examples": ["~/.openclaw", "/usr/local/bin", "${HOME}/x"] }
}
text_type! {
    /// `once`, `skip` or `{ within = "6h" }`.
    CatchUp, {
        "anyOf": [
            { "enum": ["once", "skip"] },
            {
                "type": "object",
                "properties": { "within": { "type": "string", "description": "One run, if the last missed slot is not longer ago than this.", "examples": ["6h"] } },
                "required": ["within"],
                "additionalProperties": false,
            },
        ],
    }
}
text_type! {
    /// Maintenance that is part of this binary.
    StepBuiltin, { "enum": ["prune", "vacuum", "digest", "doctor", "rotate", "verify-backup"] }
}
text_type! {
    /// What a step goes by.
    When, { "enum": ["ok", "failed"] }
}

/// An entry of a calendar, or a list of them.
#[derive(Serialize)]
pub(super) struct Calendars;

impl JsonSchema for Calendars {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Calendars".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<Calendar>();
        json_schema!({
            "anyOf": [
                entry.clone(),
                { "type": "array", "items": entry, "minItems": 1 },
            ],
        })
    }
}

/// An entry of a calendar: words, a cron line, or launchd's table.
#[derive(Serialize)]
pub(super) struct Calendar;

impl JsonSchema for Calendar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Calendar".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let words = ["daily 07:55", "Mon..Fri 22:00", "weekly Sun 03:00", "monthly 1 09:00", "every 6h", "55 7 * * *"];
        json_schema!({
            "anyOf": [
                { "type": "string", "examples": words },
                generator.subschema_for::<CalendarTable>(),
            ],
        })
    }
}
