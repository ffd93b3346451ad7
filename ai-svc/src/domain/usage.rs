//! What a call of a model used, and what that costs.

use serde_json::{Value, json};

/// Tokens used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Of what the model was told.
    pub(crate) prompt_tokens: i64,
    /// Of what it answered.
    pub(crate) completion_tokens: i64,
}

impl Usage {
    /// Adds another call's.
    pub(crate) fn add(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
    }

    /// In all.
    pub(crate) fn total(self) -> i64 {
        self.prompt_tokens + self.completion_tokens
    }

    /// As the API says it.
    pub(crate) fn to_json(self) -> Value {
        json!({
            "promptTokens": self.prompt_tokens,
            "completionTokens": self.completion_tokens,
            "totalTokens": self.total(),
        })
    }
}

/// Tokens of a text of that many bytes, where a provider does not count them: one for four, at least
/// one.
pub(crate) fn estimate(bytes: usize) -> i64 {
    i64::try_from(bytes.div_ceil(4)).unwrap_or(i64::MAX).max(1)
}

/// US dollars for a million tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Price {
    prompt: f64,
    completion: f64,
}

impl Price {
    /// Known when both are.
    pub(crate) fn of(prompt: Option<f64>, completion: Option<f64>) -> Option<Self> {
        Some(Self {
            prompt: prompt?,
            completion: completion?,
        })
    }

    /// What a call costs: prompt and answer, in US dollars.
    pub(crate) fn cost(self, usage: Usage) -> (f64, f64) {
        let cost = |tokens: i64, price: f64| tokens as f64 * price / 1_000_000.0;
        (
            cost(usage.prompt_tokens, self.prompt),
            cost(usage.completion_tokens, self.completion),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_never_nothing() {
        assert_eq!((estimate(0), estimate(4), estimate(5)), (1, 1, 2));
    }
}
