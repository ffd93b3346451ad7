//! Fields: what an object stores, shows and checks.
//!
//! Parsing is in `parse::field`; this module is the normalised result, spelled one way.

mod kind;
mod table;

use indexmap::IndexMap;
use serde_json::Value;

pub use kind::FieldType;
pub use table::{Operators, Storage};

use crate::diagnostics::Diagnostic;
use crate::reader::Sink;

/// A field of an object, or a sub-field of a composite.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// API name.
    pub name: String,
    /// Name for people; the title-cased name if none is written.
    pub label: String,
    /// What it holds.
    pub field_type: FieldType,
    /// Longer text for people.
    pub description: Option<String>,
    /// Help beside the input.
    pub inline_help_text: Option<String>,
    /// Text in the empty input.
    pub placeholder: Option<String>,
    /// Key of the field group it is shown in.
    pub group: Option<String>,
    /// An insert must give a value, an update may not blank it.
    pub required: bool,
    /// CEL: required when true.
    pub required_when: Option<String>,
    /// Values in payloads are dropped.
    pub readonly: bool,
    /// CEL: read-only when true.
    pub readonly_when: Option<String>,
    /// CEL: shown when true. For user interfaces only.
    pub visible_when: Option<String>,
    /// Owned by the server; set by `Object::with_system_fields`.
    pub system: bool,
    /// Not shown by default.
    pub hidden: bool,
    /// Never returned by a generic read.
    pub internal: bool,
    /// Uniqueness.
    pub unique: Unique,
    /// Part of full-text search.
    pub searchable: bool,
    /// The value is a list.
    pub multiple: bool,
    /// Literal, CEL envelope or token; see [`Field::effective_default`].
    pub default_value: Option<Value>,
    /// Physical column: `columnName`, or the name.
    pub column: String,
    /// Has a plain index.
    pub index: bool,
    /// May be the key of an upsert.
    pub external_id: bool,
    /// Shortest text.
    pub min_length: Option<u64>,
    /// Longest text.
    pub max_length: Option<u64>,
    /// Smallest number.
    pub min: Option<f64>,
    /// Largest number.
    pub max: Option<f64>,
    /// Step of a slider.
    pub step: Option<f64>,
    /// Digits after the point.
    pub scale: Option<u32>,
    /// Declared as an `integer`. Records round what has digits after the point, by `scale`; a
    /// parameter that stands for such a field refuses it.
    pub is_integer: bool,
    /// Digits in all.
    pub precision: Option<u32>,
    /// Regular expression a text must match.
    pub pattern: Option<String>,
    /// The choices, in order.
    pub options: Vec<SelectOption>,
    /// The object a relation points at.
    pub reference: Option<String>,
    /// Filter a picker applies to the target; not enforced on write.
    pub reference_filters: Option<Value>,
    /// What deleting the target does to this record.
    pub delete_behavior: DeleteBehavior,
    /// CEL source of a formula. Kept on other types too, where it is not evaluated.
    pub expression: Option<String>,
    /// What a formula gives: number, text, boolean, date.
    pub return_type: Option<String>,
    /// What a summary sums up.
    pub summary: Option<Summary>,
    /// Format of an autonumber; `{0000}` unless written.
    pub autonumber_format: Option<String>,
    /// First number of an autonumber.
    pub start_at: i64,
    /// Currency settings.
    pub currency: Option<CurrencyConfig>,
    /// Length of a vector.
    pub dimensions: Option<u32>,
    /// Notation of a colour: hex, rgb, hsl.
    pub color_format: Option<String>,
    /// Declared sub-fields of a composite or repeater.
    pub sub_fields: IndexMap<String, Field>,
    /// Changes go to the record's history.
    pub track_history: bool,
    /// Mask applied on read, as written.
    pub masking_rule: Option<Value>,
    /// System permissions needed to read or edit the field.
    pub required_permissions: Vec<String>,
    /// Media types a file field accepts.
    pub accept: Vec<String>,
    /// Largest file, in bytes.
    pub max_size_bytes: Option<u64>,
}

impl Field {
    /// A plain field of the given type with every default in place.
    pub fn new(name: impl Into<String>, field_type: FieldType) -> Self {
        let name = name.into();
        Self {
            label: crate::object::title_case(&name),
            column: name.clone(),
            name,
            field_type,
            description: None,
            inline_help_text: None,
            placeholder: None,
            group: None,
            required: false,
            required_when: None,
            readonly: false,
            readonly_when: None,
            visible_when: None,
            system: false,
            hidden: false,
            internal: false,
            unique: Unique::No,
            searchable: false,
            multiple: false,
            default_value: None,
            index: false,
            external_id: false,
            min_length: None,
            max_length: None,
            min: None,
            max: None,
            step: None,
            scale: None,
            is_integer: false,
            precision: None,
            pattern: None,
            options: Vec::new(),
            reference: None,
            reference_filters: None,
            delete_behavior: DeleteBehavior::SetNull,
            expression: None,
            return_type: None,
            summary: None,
            autonumber_format: None,
            start_at: 1,
            currency: None,
            dimensions: None,
            color_format: None,
            sub_fields: IndexMap::new(),
            track_history: false,
            masking_rule: None,
            required_permissions: Vec::new(),
            accept: Vec::new(),
            max_size_bytes: None,
        }
    }

    /// Reads one field of `object`; `None` when it cannot be used, with the reason among the
    /// findings.
    pub fn from_value(object: &str, name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let path = format!("objects.{object}.fields.{name}");
        let field = crate::parse::field::field(object, Some(name.to_owned()), value, path, &sink);
        (field, sink.into_diagnostics())
    }

    /// Whether the value is a list of choices, tags or references.
    pub fn is_multi_value(&self) -> bool {
        self.multiple || self.field_type.is_list()
    }

    /// Whether it holds ids of records.
    pub fn is_reference(&self) -> bool {
        self.field_type.is_reference()
    }

    /// Whether the server computes it: formula, summary, autonumber.
    pub fn is_computed(&self) -> bool {
        self.field_type.is_computed()
    }

    /// Whether it holds plain text, so that text operators and lengths apply.
    pub fn is_text(&self) -> bool {
        self.field_type.is_text() && !self.multiple
    }

    /// Whether a client may send a value at all.
    pub fn is_writable(&self) -> bool {
        !self.is_computed() && !self.readonly
    }

    /// Whether a formula has no column and everything else has one.
    pub fn is_stored(&self) -> bool {
        self.field_type != FieldType::Formula
    }

    /// The default of an insert: `defaultValue`, else the option marked as default.
    pub fn effective_default(&self) -> Option<Value> {
        if let Some(value) = &self.default_value {
            return Some(value.clone());
        }
        let marked = self.options.iter().filter(|option| option.default);
        if self.is_multi_value() {
            let values: Vec<Value> = marked.map(|o| Value::from(o.value.as_str())).collect();
            return (!values.is_empty()).then_some(Value::Array(values));
        }
        let first = marked.into_iter().next()?;
        Some(Value::from(first.value.as_str()))
    }

    /// Digits after the point of a currency: its config's precision, else `scale`, else 2.
    pub fn currency_scale(&self) -> u32 {
        self.currency
            .as_ref()
            .and_then(|currency| currency.precision)
            .or(self.scale)
            .unwrap_or(2)
    }

    /// Whether `value` is one of the options; a field without options takes any.
    pub fn allows_option(&self, value: &str) -> bool {
        self.options.is_empty() || self.options.iter().any(|option| option.value == value)
    }
}

/// One choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectOption {
    /// What is stored.
    pub value: String,
    /// What is shown.
    pub label: String,
    /// Colour of the badge.
    pub color: Option<String>,
    /// Chosen when an insert gives nothing.
    pub default: bool,
}

/// Where a value may occur only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unique {
    /// Anywhere as often as it likes.
    #[default]
    No,
    /// Once per organisation where the object has one, else once.
    Yes,
    /// Once over all organisations.
    Global,
}

/// What deleting a record does to the records that point at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeleteBehavior {
    /// The reference is emptied. On a required field this acts as `Restrict`.
    #[default]
    SetNull,
    /// They are deleted too.
    Cascade,
    /// The deletion is refused.
    Restrict,
}

impl DeleteBehavior {
    /// The word used in metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            DeleteBehavior::SetNull => "set_null",
            DeleteBehavior::Cascade => "cascade",
            DeleteBehavior::Restrict => "restrict",
        }
    }

    /// Reads the word used in metadata.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "set_null" | "setNull" => Some(DeleteBehavior::SetNull),
            "cascade" => Some(DeleteBehavior::Cascade),
            "restrict" => Some(DeleteBehavior::Restrict),
            _ => None,
        }
    }
}

/// What a summary field computes over the child records.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The child object.
    pub object: String,
    /// The child's field; a count needs none.
    pub field: Option<String>,
    /// The aggregate.
    pub function: SummaryFunction,
    /// The child's field that points here; found by type when absent.
    pub relationship_field: Option<String>,
    /// Which children count, as a where object.
    pub filter: Option<Value>,
}

/// An aggregate over child records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SummaryFunction {
    /// How many there are.
    Count,
    /// Their total.
    Sum,
    /// Their mean.
    Avg,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

impl SummaryFunction {
    /// The word used in metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            SummaryFunction::Count => "count",
            SummaryFunction::Sum => "sum",
            SummaryFunction::Avg => "avg",
            SummaryFunction::Min => "min",
            SummaryFunction::Max => "max",
        }
    }

    /// Reads the word used in metadata.
    pub fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "count" => Some(SummaryFunction::Count),
            "sum" => Some(SummaryFunction::Sum),
            "avg" | "average" => Some(SummaryFunction::Avg),
            "min" => Some(SummaryFunction::Min),
            "max" => Some(SummaryFunction::Max),
            _ => None,
        }
    }
}

/// Settings of a currency field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CurrencyConfig {
    /// Digits after the point, where stated.
    pub precision: Option<u32>,
    /// One currency for all records, or one per record.
    pub mode: CurrencyMode,
    /// ISO 4217 code.
    pub default_currency: Option<String>,
}

/// Who chooses the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CurrencyMode {
    /// The field.
    #[default]
    Fixed,
    /// The record.
    Dynamic,
}
