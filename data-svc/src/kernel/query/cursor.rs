//! Cursors: where a page ended, with the sort and the filter it belongs to, sealed.
//!
//! Invariant: a cursor opens only for the user and organisation it was made for, and not a byte of
//! it may change. It carries no rights: row filters are those of the request that uses it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mesh::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::kernel::model::{
    cell::Cell,
    coerce,
    schema::{Column, Storage},
};
use crate::kernel::{
    access::Access,
    model::plan::Order,
    query::{Query, json, order::SortKey},
};

/// Longest cursor taken, in characters: long texts may be sort keys.
const LENGTH_MAX: usize = 256 * 1024;
/// A filter longer than this is not carried; the next request must repeat it.
const FILTER_MAX: usize = 2 * 1024;
/// What stands between the sealed text and its seal.
const SEAL: &str = ",\"m\":\"";

/// The key that cursors are sealed with: random, from data-svc's own database.
#[derive(Clone)]
pub struct CursorKey([u8; 32]);

impl CursorKey {
    /// A key of those bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey(***)")
    }
}

/// What a plan keeps to mint the cursor of its last row.
#[derive(Debug, Clone)]
pub struct CursorState {
    seal: Seal,
    body: Body,
    /// Where `id` stands among the sort keys.
    id: Option<usize>,
}

#[derive(Debug, Clone)]
struct Seal {
    key: CursorKey,
    user_id: String,
    organization_id: String,
}

/// The cursor's content; the seal follows the last field.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    id: Option<String>,
    k: Vec<Json>,
    s: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    w: Option<Json>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    p: Vec<(String, Vec<String>)>,
    h: String,
    #[serde(rename = "m", skip_serializing, default)]
    _seal: String,
}

/// A cursor opened: where to go on, and the sort that it fixes.
#[derive(Debug)]
pub(super) struct Position {
    values: Vec<Json>,
    sort: Vec<SortKey>,
}

/// Opens the cursor of a query and completes the query from it: sort and filter that are not
/// repeated come from the cursor.
///
/// # Errors
/// `INVALID_CURSOR`: changed, or somebody else's; `CURSOR_MISMATCH`: the request repeats another
/// sort or filter, or is about another object.
pub(super) fn open(
    query: &mut Query,
    text: &str,
    object: &str,
    access: &dyn Access,
    key: &CursorKey,
) -> Result<Position> {
    let seal = Seal::new(key, access);
    let body = unseal(text, &seal).ok_or_else(invalid)?;
    let sort: Vec<SortKey> = body
        .s
        .iter()
        .map(|(field, direction)| SortKey {
            field: field.clone(),
            descending: direction == "desc",
        })
        .collect();
    if query.filter.is_none() && query.implicit.is_empty() {
        query.filter.clone_from(&body.w);
        query.implicit.clone_from(&body.p);
    }
    if digest(object, &body.s, query) != body.h {
        return Err(mismatch());
    }
    Ok(Position {
        values: body.k,
        sort,
    })
}

impl Position {
    /// The sort keys as the first page had them.
    pub(super) fn sort(&self) -> &[SortKey] {
        &self.sort
    }

    /// Checks the sort that a request repeats, tie-breaker included.
    ///
    /// # Errors
    /// `CURSOR_MISMATCH`.
    pub(super) fn agrees(&self, order: &[Order]) -> Result<()> {
        let repeated = order
            .iter()
            .map(|order| (&order.column.field.name, order.descending));
        if repeated.eq(self.sort.iter().map(|key| (&key.field, key.descending))) {
            Ok(())
        } else {
            Err(mismatch())
        }
    }

    /// The values of the sort keys where the page before ended.
    ///
    /// # Errors
    /// `INVALID_CURSOR` when a column changed its type meanwhile, or fields were added to it.
    pub(super) fn cells(&self, order: &[Order]) -> Result<Vec<Cell>> {
        if self.values.len() != order.len() {
            return Err(mismatch());
        }
        self.values
            .iter()
            .zip(order)
            .map(|(value, order)| cell(value, &order.column).ok_or_else(invalid))
            .collect()
    }
}

impl CursorState {
    pub(super) fn new(
        query: &Query,
        object: &str,
        order: &[Order],
        access: &dyn Access,
        key: &CursorKey,
    ) -> Self {
        let sort: Vec<(String, String)> = order
            .iter()
            .map(|order| {
                let direction = if order.descending { "desc" } else { "asc" };
                (order.column.field.name.clone(), direction.to_owned())
            })
            .collect();
        let length = |value: &Json| value.to_string().len();
        let params = query.implicit.iter().flat_map(|(name, values)| {
            std::iter::once(name.len()).chain(values.iter().map(String::len))
        });
        let is_carried =
            query.filter.as_ref().map_or(0, length) + params.sum::<usize>() <= FILTER_MAX;
        Self {
            seal: Seal::new(key, access),
            id: order
                .iter()
                .position(|order| order.column.field.name == "id"),
            body: Body {
                id: None,
                k: Vec::new(),
                h: digest(object, &sort, query),
                s: sort,
                w: query.filter.clone().filter(|_| is_carried),
                p: if is_carried {
                    query.implicit.clone()
                } else {
                    Vec::new()
                },
                _seal: String::new(),
            },
        }
    }

    /// The cursor that goes on after a row with these values of the sort keys.
    pub(super) fn mint(&self, last: &[Cell]) -> String {
        let mut body = self.body.clone();
        body.id = self
            .id
            .and_then(|index| last.get(index))
            .and_then(Cell::as_text)
            .map(str::to_owned);
        body.k = last.iter().map(value).collect();
        // Serialising strings, numbers and JSON values into memory cannot fail.
        let mut text = serde_json::to_string(&body).unwrap_or_default();
        text.pop();
        let seal = self.seal.of(&text);
        BASE64.encode(format!("{text}{SEAL}{seal}\"}}"))
    }
}

impl Seal {
    fn new(key: &CursorKey, access: &dyn Access) -> Self {
        Self {
            key: key.clone(),
            user_id: access.user_id().unwrap_or_default().to_owned(),
            organization_id: access.organization_id().unwrap_or_default().to_owned(),
        }
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        // HMAC pads a short key with zeros up to the block of its hash.
        let mut block = [0; 64];
        block[..self.key.0.len()].copy_from_slice(&self.key.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        for part in [&self.user_id, &self.organization_id, text] {
            // Lengths keep the parts apart.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }

    fn of(&self, text: &str) -> String {
        BASE64.encode(self.mac(text).finalize().into_bytes())
    }
}

fn unseal(cursor: &str, seal: &Seal) -> Option<Body> {
    if cursor.len() > LENGTH_MAX {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(cursor).ok()?).ok()?;
    let sealed = &text[..text.rfind(SEAL)?];
    let mac = text.get(sealed.len() + SEAL.len()..)?.strip_suffix("\"}")?;
    seal.mac(sealed)
        .verify_slice(&BASE64.decode(mac).ok()?)
        .ok()?;
    serde_json::from_str(&text).ok()
}

/// A digest of what must stay the same from page to page.
fn digest(object: &str, sort: &[(String, String)], query: &Query) -> String {
    let filter = query.filter.as_ref().map(json::canonical);
    let text =
        serde_json::json!([object, sort, filter, query.implicit, query.distinct]).to_string();
    BASE64.encode(&Sha256::digest(text.as_bytes())[..16])
}

/// A sort key's value as the cursor carries it: decimals as text, since JSON numbers are doubles.
fn value(cell: &Cell) -> Json {
    if let Cell::Decimal(decimal) = cell {
        return Json::String(decimal.normalize().to_string());
    }
    cell.to_json()
}

fn cell(value: &Json, column: &Column) -> Option<Cell> {
    if value.is_null() {
        return Some(Cell::Null);
    }
    Some(match column.storage {
        Storage::Text => Cell::Text(value.as_str()?.to_owned()),
        Storage::Integer => Cell::Integer(value.as_i64()?),
        Storage::Double => Cell::Double(value.as_f64()?),
        Storage::Decimal(scale) => {
            let decimal = coerce::decimal_exact(value)?;
            coerce::decimal_fits(&decimal, scale).then_some(Cell::Decimal(decimal))?
        }
        Storage::Boolean => Cell::Boolean(value.as_bool()?),
        Storage::Date => Cell::Date(coerce::date(value)?),
        Storage::Time => Cell::Time(coerce::time(value)?),
        Storage::DateTime => Cell::DateTime(coerce::datetime(value)?),
        Storage::Json => return None,
    })
}

fn invalid() -> Error {
    Error::validation(
        "INVALID_CURSOR",
        "cursor is not one that was handed out here",
    )
    .with("parameter", "cursor")
    .with("hint", "start again without cursor")
}

fn mismatch() -> Error {
    Error::validation("CURSOR_MISMATCH", "cursor belongs to another query")
        .with("parameter", "cursor")
        .with(
            "hint",
            "repeat orderBy and where unchanged or leave them out; a long where must be repeated",
        )
}
