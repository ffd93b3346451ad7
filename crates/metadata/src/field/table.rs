//! The one table of field types (docs/reference/field-types.md): what the values of each are in JSON, which SQL
//! type keeps them, and which operators of a filter make sense on them.

use super::{Field, FieldType};
use crate::shape::Shape;

/// Digits after the point of an exact number at most.
const SCALE_MAX: u32 = 8;

/// The SQL type of a column, before either database's spelling of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Storage {
    /// Text.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A double.
    Double,
    /// Exact, with so many digits after the point.
    Decimal(u32),
    /// True or false.
    Boolean,
    /// A day.
    Date,
    /// A time of day.
    Time,
    /// An instant.
    DateTime,
    /// A JSON document.
    Json,
}

/// Which operators of a filter a field takes (docs/reference/objectql.md). All of them take `$null` and
/// `$exists`, but for those that take none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operators {
    /// None at all: it is neither shown nor compared.
    None,
    /// Only whether there is a value.
    Presence,
    /// `$eq $ne $in $nin`.
    Equality,
    /// Equality, and `$gt $gte $lt $lte $between`.
    Order,
    /// Equality, order (by code point), and parts: `$contains $startsWith $endsWith $like` and their
    /// kin.
    Text,
    /// Equality of members, and `$contains` of one.
    Membership,
}

impl Operators {
    /// Whether values, or members, may be compared with `$eq` and its kin.
    pub fn has_equality(self) -> bool {
        match self {
            Operators::Equality | Operators::Order | Operators::Text | Operators::Membership => {
                true
            }
            Operators::None | Operators::Presence => false,
        }
    }

    /// Whether values have an order.
    pub fn has_order(self) -> bool {
        match self {
            Operators::Order | Operators::Text => true,
            Operators::None | Operators::Presence | Operators::Equality | Operators::Membership => {
                false
            }
        }
    }

    /// Whether something may be looked for inside: a part of a text, a member of a list.
    pub fn has_parts(self) -> bool {
        match self {
            Operators::Text | Operators::Membership => true,
            Operators::None | Operators::Presence | Operators::Equality | Operators::Order => false,
        }
    }

    /// Whether texts may be matched by their beginning, their end, or a pattern.
    pub fn has_patterns(self) -> bool {
        self == Operators::Text
    }
}

/// What is true of every field of a type.
struct Row {
    shape: Shape,
    /// `None` for what is computed on read.
    storage: Option<Storage>,
    operators: Operators,
}

fn row(shape: Shape, storage: Storage, operators: Operators) -> Row {
    Row {
        shape,
        storage: Some(storage),
        operators,
    }
}

impl FieldType {
    fn row(self) -> Row {
        match self {
            FieldType::Text => row(Shape::Text, Storage::Text, Operators::Text),
            FieldType::Textarea
            | FieldType::Markdown
            | FieldType::Code
            | FieldType::Email
            | FieldType::Url
            | FieldType::Phone
            | FieldType::Select
            | FieldType::Radio
            | FieldType::Autonumber
            | FieldType::Color
            | FieldType::Qrcode => row(Shape::Text, Storage::Text, Operators::Text),
            FieldType::Html => row(Shape::Text, Storage::Text, Operators::Text),
            FieldType::Richtext => row(Shape::TextOrObject, Storage::Json, Operators::Presence),
            FieldType::Password => row(Shape::Text, Storage::Text, Operators::None),
            FieldType::Secret => row(Shape::Text, Storage::Text, Operators::Presence),
            FieldType::Number
            | FieldType::Percent
            | FieldType::Rating
            | FieldType::Slider
            | FieldType::Progress
            | FieldType::Summary => row(Shape::Number, Storage::Double, Operators::Order),
            FieldType::Currency => row(Shape::Number, Storage::Decimal(2), Operators::Order),
            FieldType::Date => row(Shape::Date, Storage::Date, Operators::Order),
            FieldType::Datetime => row(Shape::DateTime, Storage::DateTime, Operators::Order),
            FieldType::Time => row(Shape::Text, Storage::Time, Operators::Order),
            FieldType::Boolean | FieldType::Toggle => {
                row(Shape::Boolean, Storage::Boolean, Operators::Equality)
            }
            FieldType::Multiselect | FieldType::Checkboxes | FieldType::Tags => {
                row(Shape::Texts, Storage::Json, Operators::Membership)
            }
            FieldType::Lookup | FieldType::MasterDetail | FieldType::Tree | FieldType::User => {
                row(Shape::Text, Storage::Text, Operators::Text)
            }
            FieldType::Formula => Row {
                shape: Shape::Any,
                storage: None,
                operators: Operators::None,
            },
            FieldType::Image
            | FieldType::File
            | FieldType::Avatar
            | FieldType::Video
            | FieldType::Audio
            | FieldType::Signature => row(Shape::TextOrObject, Storage::Json, Operators::Presence),
            FieldType::Json => row(Shape::Any, Storage::Json, Operators::Presence),
            FieldType::Composite | FieldType::Record | FieldType::Location | FieldType::Address => {
                row(Shape::Object, Storage::Json, Operators::Presence)
            }
            FieldType::Repeater => row(Shape::Objects, Storage::Json, Operators::Presence),
            FieldType::Vector => row(Shape::Numbers, Storage::Json, Operators::Presence),
        }
    }

    /// What one value is in JSON. [`Field::shape`] also knows what the field says of itself.
    pub fn shape(self) -> Shape {
        self.row().shape
    }
}

impl Field {
    /// What one value is in JSON, whatever [`Field::multiple`] says: a number without digits after
    /// the point is whole, and a formula gives what it says it returns.
    pub fn shape(&self) -> Shape {
        match self.field_type {
            FieldType::Number if self.scale == Some(0) => Shape::Integer,
            FieldType::Formula => match self.return_type.as_deref() {
                Some("number" | "currency" | "percent") => Shape::Number,
                Some("boolean") => Shape::Boolean,
                Some("date") => Shape::Date,
                Some("text" | "string") => Shape::Text,
                // Without a stated type it may be anything.
                _ => Shape::Any,
            },
            other => other.shape(),
        }
    }

    /// The SQL type of its column; `None` where there is none, since it is computed on read.
    pub fn storage(&self) -> Option<Storage> {
        let storage = self.field_type.row().storage?;
        if self.is_multi_value() {
            return Some(Storage::Json);
        }
        Some(match storage {
            Storage::Decimal(_) => Storage::Decimal(self.currency_scale().min(SCALE_MAX)),
            Storage::Double if self.is_whole() => Storage::Integer,
            other => other,
        })
    }

    /// Kept as whole numbers: percentages and sums never are.
    fn is_whole(&self) -> bool {
        let can_be = matches!(
            self.field_type,
            FieldType::Number | FieldType::Slider | FieldType::Progress | FieldType::Rating
        );
        can_be && self.scale == Some(0)
    }

    /// Which operators of a filter make sense on it.
    pub fn operators(&self) -> Operators {
        match self.is_multi_value() && self.field_type != FieldType::Formula {
            true => Operators::Membership,
            false => self.field_type.row().operators,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_follows_what_the_field_says_of_itself() {
        let of = |field_type: FieldType, change: fn(&mut Field)| {
            let mut field = Field::new("f", field_type);
            change(&mut field);
            (field.storage(), field.shape(), field.operators())
        };
        assert_eq!(
            of(FieldType::Number, |f| f.scale = Some(0)),
            (Some(Storage::Integer), Shape::Integer, Operators::Order)
        );
        assert_eq!(
            of(FieldType::Percent, |f| f.scale = Some(0)),
            (Some(Storage::Double), Shape::Number, Operators::Order)
        );
        assert_eq!(
            of(FieldType::Currency, |f| f.scale = Some(3)).0,
            Some(Storage::Decimal(3))
        );
        assert_eq!(
            of(FieldType::Lookup, |f| f.multiple = true),
            (Some(Storage::Json), Shape::Text, Operators::Membership)
        );
        assert_eq!(
            of(FieldType::Formula, |f| f.return_type =
                Some("number".to_owned())),
            (None, Shape::Number, Operators::None)
        );
    }
}
