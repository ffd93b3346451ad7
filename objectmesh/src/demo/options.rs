//! Owns the select options that are picked at random; the tests compare them with the app.

pub(super) const TIERS: &[&str] = &["bronze", "silver", "gold", "platinum"];
pub(super) const LEAD_SOURCES: &[&str] =
    &["web", "referral", "trade_show", "partner", "phone", "other"];
