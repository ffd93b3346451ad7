//! The field types and the families they fall into.

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldType {
    /// One line of text.
    Text,
    /// Several lines of text.
    Textarea,
    /// Markdown text.
    Markdown,
    /// Source code.
    Code,
    /// HTML, cleaned on write.
    Html,
    /// Formatted text, or a JSON document of it.
    Richtext,
    /// E-mail address, lowercased.
    Email,
    /// Web address.
    Url,
    /// Telephone number as written.
    Phone,
    /// Hashed, never returned.
    Password,
    /// Encrypted, returned as a mask.
    Secret,
    /// A number.
    Number,
    /// Exact money.
    Currency,
    /// Percentage on a 0-100 scale.
    Percent,
    /// Stars.
    Rating,
    /// A number chosen by sliding.
    Slider,
    /// A number shown as a bar.
    Progress,
    /// A day without a zone.
    Date,
    /// An instant in UTC with milliseconds.
    Datetime,
    /// A time of day.
    Time,
    /// True or false.
    Boolean,
    /// True or false, shown as a switch.
    Toggle,
    /// One of the options.
    Select,
    /// One of the options, all shown.
    Radio,
    /// Several of the options.
    Multiselect,
    /// Several of the options, all shown.
    Checkboxes,
    /// Free words.
    Tags,
    /// A record of another object.
    Lookup,
    /// The record this one is part of.
    MasterDetail,
    /// The parent in a hierarchy of the same object.
    Tree,
    /// A user.
    User,
    /// CEL evaluated on read.
    Formula,
    /// Aggregate over child records.
    Summary,
    /// Consecutive number.
    Autonumber,
    /// Picture.
    Image,
    /// Any file.
    File,
    /// Picture of a person.
    Avatar,
    /// Film.
    Video,
    /// Sound.
    Audio,
    /// Drawn signature.
    Signature,
    /// Any JSON.
    Json,
    /// An object with declared sub-fields.
    Composite,
    /// A list of such objects.
    Repeater,
    /// A free object.
    Record,
    /// A place on the globe.
    Location,
    /// A postal address.
    Address,
    /// A list of numbers of fixed length.
    Vector,
    /// A colour.
    Color,
    /// Text shown as a QR code.
    Qrcode,
}

impl FieldType {
    /// Every type.
    pub const ALL: [FieldType; 49] = [
        FieldType::Text,
        FieldType::Textarea,
        FieldType::Markdown,
        FieldType::Code,
        FieldType::Html,
        FieldType::Richtext,
        FieldType::Email,
        FieldType::Url,
        FieldType::Phone,
        FieldType::Password,
        FieldType::Secret,
        FieldType::Number,
        FieldType::Currency,
        FieldType::Percent,
        FieldType::Rating,
        FieldType::Slider,
        FieldType::Progress,
        FieldType::Date,
        FieldType::Datetime,
        FieldType::Time,
        FieldType::Boolean,
        FieldType::Toggle,
        FieldType::Select,
        FieldType::Radio,
        FieldType::Multiselect,
        FieldType::Checkboxes,
        FieldType::Tags,
        FieldType::Lookup,
        FieldType::MasterDetail,
        FieldType::Tree,
        FieldType::User,
        FieldType::Formula,
        FieldType::Summary,
        FieldType::Autonumber,
        FieldType::Image,
        FieldType::File,
        FieldType::Avatar,
        FieldType::Video,
        FieldType::Audio,
        FieldType::Signature,
        FieldType::Json,
        FieldType::Composite,
        FieldType::Repeater,
        FieldType::Record,
        FieldType::Location,
        FieldType::Address,
        FieldType::Vector,
        FieldType::Color,
        FieldType::Qrcode,
    ];

    /// The word used in metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            FieldType::Text => "text",
            FieldType::Textarea => "textarea",
            FieldType::Markdown => "markdown",
            FieldType::Code => "code",
            FieldType::Html => "html",
            FieldType::Richtext => "richtext",
            FieldType::Email => "email",
            FieldType::Url => "url",
            FieldType::Phone => "phone",
            FieldType::Password => "password",
            FieldType::Secret => "secret",
            FieldType::Number => "number",
            FieldType::Currency => "currency",
            FieldType::Percent => "percent",
            FieldType::Rating => "rating",
            FieldType::Slider => "slider",
            FieldType::Progress => "progress",
            FieldType::Date => "date",
            FieldType::Datetime => "datetime",
            FieldType::Time => "time",
            FieldType::Boolean => "boolean",
            FieldType::Toggle => "toggle",
            FieldType::Select => "select",
            FieldType::Radio => "radio",
            FieldType::Multiselect => "multiselect",
            FieldType::Checkboxes => "checkboxes",
            FieldType::Tags => "tags",
            FieldType::Lookup => "lookup",
            FieldType::MasterDetail => "master_detail",
            FieldType::Tree => "tree",
            FieldType::User => "user",
            FieldType::Formula => "formula",
            FieldType::Summary => "summary",
            FieldType::Autonumber => "autonumber",
            FieldType::Image => "image",
            FieldType::File => "file",
            FieldType::Avatar => "avatar",
            FieldType::Video => "video",
            FieldType::Audio => "audio",
            FieldType::Signature => "signature",
            FieldType::Json => "json",
            FieldType::Composite => "composite",
            FieldType::Repeater => "repeater",
            FieldType::Record => "record",
            FieldType::Location => "location",
            FieldType::Address => "address",
            FieldType::Vector => "vector",
            FieldType::Color => "color",
            FieldType::Qrcode => "qrcode",
        }
    }

    /// Reads the word used in metadata, in old spellings too. `integer` also means scale 0,
    /// which the parser of fields adds.
    pub fn parse(word: &str) -> Option<Self> {
        let alias = match word {
            "decimal" | "integer" | "int" | "float" => Some(FieldType::Number),
            "masterDetail" | "master-detail" => Some(FieldType::MasterDetail),
            "auto_number" | "autoNumber" => Some(FieldType::Autonumber),
            "rich_text" | "richText" => Some(FieldType::Richtext),
            "bool" => Some(FieldType::Boolean),
            "date_time" | "dateTime" => Some(FieldType::Datetime),
            "multi_select" | "multiSelect" => Some(FieldType::Multiselect),
            "string" => Some(FieldType::Text),
            "geolocation" => Some(FieldType::Location),
            "object" => Some(FieldType::Json),
            _ => None,
        };
        let exact = || FieldType::ALL.into_iter().find(|t| t.as_str() == word);
        alias.or_else(exact)
    }

    /// Holds a list by nature.
    pub fn is_list(self) -> bool {
        matches!(
            self,
            FieldType::Multiselect | FieldType::Checkboxes | FieldType::Tags
        )
    }

    /// Chooses from options.
    pub fn is_choice(self) -> bool {
        matches!(
            self,
            FieldType::Select
                | FieldType::Radio
                | FieldType::Multiselect
                | FieldType::Checkboxes
                | FieldType::Tags
        )
    }

    /// Points at records.
    pub fn is_reference(self) -> bool {
        matches!(
            self,
            FieldType::Lookup | FieldType::MasterDetail | FieldType::Tree | FieldType::User
        )
    }

    /// Computed by the server.
    pub fn is_computed(self) -> bool {
        matches!(
            self,
            FieldType::Formula | FieldType::Summary | FieldType::Autonumber
        )
    }

    /// Plain text on the wire, with lengths.
    pub fn is_text(self) -> bool {
        matches!(
            self,
            FieldType::Text
                | FieldType::Textarea
                | FieldType::Markdown
                | FieldType::Code
                | FieldType::Html
                | FieldType::Richtext
                | FieldType::Email
                | FieldType::Url
                | FieldType::Phone
                | FieldType::Color
                | FieldType::Qrcode
        )
    }

    /// A JSON number on the wire.
    pub fn is_number(self) -> bool {
        matches!(
            self,
            FieldType::Number
                | FieldType::Currency
                | FieldType::Percent
                | FieldType::Rating
                | FieldType::Slider
                | FieldType::Progress
        )
    }

    /// A JSON boolean on the wire.
    pub fn is_boolean(self) -> bool {
        matches!(self, FieldType::Boolean | FieldType::Toggle)
    }

    /// A file id, or the older metadata object.
    pub fn is_media(self) -> bool {
        matches!(
            self,
            FieldType::Image
                | FieldType::File
                | FieldType::Avatar
                | FieldType::Video
                | FieldType::Audio
                | FieldType::Signature
        )
    }

    /// An object or list of its own shape, kept in a JSON column.
    pub fn is_structured(self) -> bool {
        matches!(
            self,
            FieldType::Json
                | FieldType::Composite
                | FieldType::Repeater
                | FieldType::Record
                | FieldType::Location
                | FieldType::Address
                | FieldType::Vector
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for field_type in FieldType::ALL {
            assert_eq!(FieldType::parse(field_type.as_str()), Some(field_type));
        }
        assert_eq!(FieldType::parse("decimal"), Some(FieldType::Number));
        assert_eq!(FieldType::parse("hologram"), None);
    }
}
