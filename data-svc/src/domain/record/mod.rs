//! Writing records: from a JSON body to typed cells, with every problem of one payload reported
//! together (spec/field-types.md §1, §4; spec/data-api.md §3).

pub mod body;
pub mod default;
pub mod normalize;
pub mod password;
pub mod prepare;
pub mod rules;
pub mod text;
