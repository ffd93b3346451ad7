//! The list of models: which there are, and which one a request means.

use mesh::{Error, FieldViolation, Result};
use metadata::ai::ModelChoice;
use serde_json::{Value, json};

use super::Provider;
use crate::{config::Config, domain::usage::Price};

/// Ids that stand for a strength, not for a model.
const ALIASES: [&str; 2] = ["smart", "fast"];

/// The models that can be used.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    /// The models, the default one first.
    entries: Vec<Chosen>,
    /// The providers that are configured.
    providers: Vec<Provider>,
}

/// A model of the list.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// Its id here.
    pub(crate) id: String,
    label: String,
    /// Where it runs.
    pub(crate) provider: Provider,
    /// Its name there.
    pub(crate) model: String,
    context_window: u32,
    /// What it costs, where that is known.
    pub(crate) price: Option<Price>,
}

impl Chosen {
    fn bare(id: &str, provider: Provider, model: &str) -> Self {
        Self {
            id: id.to_owned(),
            label: id.to_owned(),
            provider,
            model: model.to_owned(),
            context_window: 0,
            price: None,
        }
    }

    fn to_json(&self, default: bool) -> Value {
        let window = (self.context_window > 0).then_some(self.context_window);
        json!({
            "id": self.id,
            "label": self.label,
            "provider": self.provider.as_str(),
            "model": self.model,
            "contextWindow": window,
            "capabilities": ["chat", "tools"],
            "default": default,
        })
    }
}

impl Catalogue {
    /// As configured. A configured model that the list does not name is put into it; where the
    /// provider is a server of the operator's own, `smart` and `fast` mean that model, too.
    pub(crate) fn new(config: &Config) -> Self {
        let own = |url: &str, usual: &str| url.trim_end_matches('/') != usual;
        let own_openai = own(&config.openai.base_url, "https://api.openai.com/v1");
        let own_anthropic = own(&config.anthropic.base_url, "https://api.anthropic.com");
        let mut providers = Vec::new();
        if own_openai || !config.openai.api_key.is_empty() {
            providers.push(Provider::OpenAi);
        }
        if own_anthropic || !config.anthropic.api_key.is_empty() {
            providers.push(Provider::Anthropic);
        }
        if providers.is_empty() {
            providers.push(Provider::Echo);
        }
        let mut entries = Vec::new();
        for (id, model) in &config.models {
            let behind = |provider: &Provider| {
                let behind = match provider {
                    Provider::OpenAi => &model.openai,
                    Provider::Anthropic => &model.anthropic,
                    Provider::Echo => &model.echo,
                };
                behind.clone().map(|behind| (*provider, behind))
            };
            let Some((provider, behind)) = providers.iter().find_map(behind) else {
                continue;
            };
            entries.push(Chosen {
                id: id.clone(),
                label: model.label.clone(),
                provider,
                model: behind.model,
                context_window: behind.context_window,
                price: Price::of(behind.prompt_price, behind.completion_price),
            });
        }
        let mut catalogue = Self { entries, providers };
        let wanted = match config.model.as_str() {
            "" => "smart",
            other => other,
        };
        if catalogue.position(wanted).is_none() && !config.model.is_empty() {
            let (provider, model) = catalogue.split(wanted);
            let own = match provider {
                Provider::OpenAi => own_openai,
                Provider::Anthropic => own_anthropic,
                Provider::Echo => true,
            };
            for entry in &mut catalogue.entries {
                if own && entry.provider == provider && ALIASES.contains(&entry.id.as_str()) {
                    entry.model = model.to_owned();
                    (entry.context_window, entry.price) = (0, None);
                }
            }
            let entry = Chosen::bare(wanted, provider, model);
            catalogue.entries.push(entry);
        }
        if let Some(position) = catalogue.position(wanted) {
            let default = catalogue.entries.remove(position);
            catalogue.entries.insert(0, default);
        }
        catalogue
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.id == id)
    }

    /// `provider/model` where that provider is configured, else a model of the first one.
    fn split<'a>(&self, name: &'a str) -> (Provider, &'a str) {
        if let Some((provider, model)) = name.split_once('/') {
            let mut known = self.providers.iter();
            if let Some(provider) = known.find(|known| known.as_str() == provider) {
                return (*provider, model);
            }
        }
        (self.providers[0], name)
    }

    /// The list, as JSON.
    pub(crate) fn to_json(&self) -> Vec<Value> {
        let entries = self.entries.iter().enumerate();
        entries
            .map(|(place, entry)| entry.to_json(place == 0))
            .collect()
    }

    /// The model where nothing names one.
    ///
    /// # Errors
    /// VALIDATION_ERROR when there is none at all.
    pub(crate) fn default(&self) -> Result<&Chosen> {
        self.entries
            .first()
            .ok_or_else(|| unknown("model", "No model is configured"))
    }

    /// The id of [`Catalogue::default`].
    pub(crate) fn default_id(&self) -> Option<String> {
        self.entries.first().map(|entry| entry.id.clone())
    }

    /// The model of that id in a request.
    ///
    /// # Errors
    /// VALIDATION_ERROR when there is none.
    pub(crate) fn named(&self, id: &str) -> Result<&Chosen> {
        let position = self.position(id);
        position
            .map(|position| &self.entries[position])
            .ok_or_else(|| unknown("model", format!("There is no model \"{id}\"")))
    }

    /// The model that metadata asks for, by id or by its name at a provider; the default one where
    /// that cannot be had.
    ///
    /// # Errors
    /// As [`Catalogue::default`].
    pub(crate) fn wished(&self, wish: Option<&ModelChoice>) -> Result<Chosen> {
        let Some((wish, model)) = wish.and_then(|wish| Some((wish, wish.model.as_deref()?))) else {
            return self.default().cloned();
        };
        if let Some(position) = self.position(model) {
            return Ok(self.entries[position].clone());
        }
        let mut known = self.providers.iter();
        let Some(provider) = known.find(|known| Some(known.as_str()) == wish.provider.as_deref())
        else {
            return self.default().cloned();
        };
        let same = |entry: &&Chosen| entry.provider == *provider && entry.model == model;
        let found = self.entries.iter().find(same).cloned();
        Ok(found.unwrap_or_else(|| Chosen::bare(model, *provider, model)))
    }
}

fn unknown(field: &str, message: impl Into<String>) -> Error {
    Error::fields(vec![FieldViolation::new(field, "invalid_option", message)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DEFAULTS, Sections, environment};

    fn catalogue(variables: &[(&str, &str)]) -> Vec<String> {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let file: Sections = mesh::config::load(DEFAULTS, None, environment(variables)).unwrap();
        let catalogue = Catalogue::new(&file.ai);
        let shown = catalogue.entries.iter();
        shown
            .map(|one| format!("{}={}/{}", one.id, one.provider.as_str(), one.model))
            .collect()
    }

    #[test]
    fn the_first_model_is_the_default_one() {
        let key = ("OPENAI_API_KEY", "k");
        let claude = ("ANTHROPIC_API_KEY", "k");
        let model = |name| ("OBJECTMESH__AI__MODEL", name);
        for (variables, expected) in [
            (&[][..], &["smart=echo/echo", "fast=echo/echo"][..]),
            (&[key], &["smart=openai/gpt-4o", "fast=openai/gpt-4o-mini"]),
            (
                &[key, model("fast")],
                &["fast=openai/gpt-4o-mini", "smart=openai/gpt-4o"],
            ),
            (
                &[key, claude, model("anthropic/claude-x")],
                &[
                    "anthropic/claude-x=anthropic/claude-x",
                    "fast=openai/gpt-4o-mini",
                    "smart=openai/gpt-4o",
                ],
            ),
            // A server of the operator's own knows neither of the usual ones.
            (
                &[("OPENAI_BASE_URL", "http://localhost/v1"), model("llama")],
                &[
                    "llama=openai/llama",
                    "fast=openai/llama",
                    "smart=openai/llama",
                ],
            ),
        ] {
            assert_eq!(catalogue(variables), expected, "{variables:?}");
        }
    }
}
