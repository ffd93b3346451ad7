//! Labels in the reader's language (docs/reference/discovery.md §3): the `translations` of packages laid over
//! what an item declares.

use std::collections::BTreeMap;

use metadata::ItemType;
use serde_json::{Map, Value, json};

/// Texts that a translation may replace; nothing else of an item follows the language.
const TEXTS: [&str; 9] = [
    "label",
    "pluralLabel",
    "description",
    "help",
    "helpText",
    "placeholder",
    "title",
    "confirmText",
    "successMessage",
];
/// Language ranges that are read of a header.
const RANGES_MAX: usize = 20;

/// The translations of all packages.
#[derive(Debug, Default)]
pub struct Translations {
    /// Package → locale → bundle.
    packages: BTreeMap<String, Package>,
}

#[derive(Debug, Default)]
struct Package {
    /// The language of the labels as they are declared.
    default_locale: Option<String>,
    bundles: BTreeMap<String, Value>,
}

impl Translations {
    /// Adds what a package declares: the language of its own labels, and bundles, each either of
    /// one `locale` or a map of locales.
    pub fn add(&mut self, package: &str, i18n: Option<&Value>, name: &str, bundle: &Value) {
        let entry = self.packages.entry(package.to_owned()).or_default();
        let declared = i18n.and_then(|i18n| i18n.get("defaultLocale")?.as_str());
        if let Some(locale) = declared {
            entry.default_locale = Some(locale.to_owned());
        }
        let Some(map) = bundle.as_object() else {
            return;
        };
        let is_bundle = |map: &Map<String, Value>| {
            ["objects", "apps", "views", "actions", "messages"]
                .iter()
                .any(|key| map.contains_key(*key))
        };
        if is_bundle(map) {
            let locale = map.get("locale").and_then(Value::as_str).unwrap_or(name);
            entry.put(locale, bundle);
            return;
        }
        for (locale, bundle) in map {
            if bundle.as_object().is_some_and(is_bundle) {
                entry.put(locale, bundle);
            }
        }
    }

    /// The locale of the labels that a package's items are shown with; none for those declared.
    #[must_use]
    pub fn locale(&self, accept_language: &str, package: &str) -> Option<&str> {
        self.packages.get(package)?.locale(accept_language)
    }

    /// Lays the translation of an item over it, in the first of the languages asked for that its
    /// package has.
    pub fn apply(
        &self,
        accept_language: &str,
        package: &str,
        item_type: ItemType,
        name: &str,
        shown: &mut Map<String, Value>,
    ) {
        let Some(package) = self.packages.get(package) else {
            return;
        };
        let locale = package.locale(accept_language);
        let Some(bundle) = locale.and_then(|locale| package.bundles.get(locale)) else {
            return;
        };
        let own = bundle
            .get(item_type.plural())
            .and_then(|items| items.get(name))
            .and_then(Value::as_object);
        if let Some(own) = own {
            texts(shown, own);
            if let Some(Value::Object(fields)) = own.get("fields") {
                each(shown.get_mut("fields"), "name", fields, field);
            }
            if let Some(Value::Object(entries)) = own.get("navigation") {
                navigation(shown.get_mut("navigation"), entries);
            }
            if let Some(Value::Object(params)) = own.get("params") {
                each(shown.get_mut("params"), "name", params, field);
            }
        }
        // What belongs to an object may stand below it: `objects.task._views.mine`.
        let object = ["object", "objectName"]
            .iter()
            .find_map(|key| shown.get(*key)?.as_str());
        let below = object.and_then(|object| bundle.get("objects")?.get(object));
        let group = format!("_{}", item_type.plural());
        let own = below
            .and_then(|below| below.get(group.as_str())?.get(name)?.as_object())
            .cloned();
        if let Some(own) = own {
            texts(shown, &own);
        }
    }
}

impl Package {
    fn put(&mut self, locale: &str, bundle: &Value) {
        let known = self
            .bundles
            .entry(locale.to_ascii_lowercase())
            .or_insert_with(|| json!({}));
        merge(known, bundle);
    }

    /// The locale of the bundle for a header (RFC 9110 §12.5.4, by the lookup of RFC 4647 §3.4); none where the
    /// labels as declared fit better, or nothing fits.
    fn locale(&self, accept_language: &str) -> Option<&str> {
        let default = self.default_locale.as_deref().unwrap_or("en");
        let default = default.to_ascii_lowercase();
        for range in ranges(accept_language) {
            if range == "*" {
                let bundle = self.bundles.get_key_value(&default);
                return bundle.map(|(locale, _)| locale.as_str());
            }
            let mut wanted = range.as_str();
            loop {
                if let Some((locale, _)) = self.bundles.get_key_value(wanted) {
                    return Some(locale);
                }
                if default == wanted {
                    return None;
                }
                match wanted.rsplit_once('-') {
                    Some((shorter, _)) => wanted = shorter,
                    None => break,
                }
            }
            // Who asks for a language is served in any kind of it.
            let kind = format!("{wanted}-");
            let found = self
                .bundles
                .iter()
                .find(|(locale, _)| locale.starts_with(&kind));
            if let Some((locale, _)) = found {
                return Some(locale);
            }
            if default.starts_with(&kind) {
                return None;
            }
        }
        None
    }
}

/// The languages asked for, the dearest first, in lower case.
fn ranges(header: &str) -> Vec<String> {
    let mut ranges: Vec<(f32, String)> = header
        .split(',')
        .take(RANGES_MAX)
        .filter_map(|part| {
            let (range, parameter) = part.split_once(';').unwrap_or((part, ""));
            let quality = match parameter.trim().strip_prefix("q=") {
                Some(quality) => quality.trim().parse().ok()?,
                None => 1.0_f32,
            };
            let range = range.trim().to_ascii_lowercase();
            (quality > 0.0 && !range.is_empty()).then_some((quality, range))
        })
        .collect();
    // Stable: among equals the first wins.
    ranges.sort_by(|one, two| two.0.total_cmp(&one.0));
    ranges.into_iter().map(|(_, range)| range).collect()
}

fn merge(known: &mut Value, more: &Value) {
    match (known, more) {
        (Value::Object(known), Value::Object(more)) => {
            for (key, value) in more {
                merge(known.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (known, more) => *known = more.clone(),
    }
}

fn texts(shown: &mut Map<String, Value>, own: &Map<String, Value>) {
    for key in TEXTS {
        if let Some(text @ Value::String(_)) = own.get(key) {
            shown.insert(key.to_owned(), text.clone());
        }
    }
}

/// Translates the members of a map by key, or of a list by what they call themselves.
fn each(
    members: Option<&mut Value>,
    name: &str,
    own: &Map<String, Value>,
    translate: fn(&mut Map<String, Value>, &Map<String, Value>),
) {
    match members {
        Some(Value::Object(members)) => {
            for (key, member) in members {
                if let (Some(member), Some(Value::Object(own))) =
                    (member.as_object_mut(), own.get(key))
                {
                    translate(member, own);
                }
            }
        }
        Some(Value::Array(members)) => {
            for member in members.iter_mut().filter_map(Value::as_object_mut) {
                let own = member
                    .get(name)
                    .and_then(Value::as_str)
                    .and_then(|key| own.get(key)?.as_object());
                if let Some(own) = own {
                    translate(member, own);
                }
            }
        }
        _ => {}
    }
}

fn field(shown: &mut Map<String, Value>, own: &Map<String, Value>) {
    texts(shown, own);
    let (Some(Value::Array(options)), Some(Value::Object(labels))) =
        (shown.get_mut("options"), own.get("options"))
    else {
        return;
    };
    for option in options {
        let value = match &*option {
            Value::String(value) => Some(value.clone()),
            other => other
                .get("value")
                .and_then(Value::as_str)
                .map(str::to_owned),
        };
        let Some(value) = value else { continue };
        let Some(label @ Value::String(_)) = labels.get(&value) else {
            continue;
        };
        match option {
            Value::Object(option) => {
                option.insert("label".to_owned(), label.clone());
            }
            bare => *bare = json!({"value": value, "label": label}),
        }
    }
}

/// Entries of an app's navigation, however deep.
fn navigation(entries: Option<&mut Value>, own: &Map<String, Value>) {
    let Some(Value::Array(entries)) = entries else {
        return;
    };
    for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
        let translated = entry
            .get("id")
            .and_then(Value::as_str)
            .and_then(|id| own.get(id)?.as_object());
        if let Some(translated) = translated {
            texts(entry, translated);
        }
        navigation(entry.get_mut("children"), own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translations() -> Translations {
        let mut all = Translations::default();
        let bundles = json!({
            "de": {"objects": {"task": {"label": "Aufgabe", "fields": {
                "status": {"label": "Stand", "options": {"open": "Offen"}, "type": "text"}},
                "_actions": {"close": {"label": "Schließen"}}}}},
            "zh-CN": {"objects": {"task": {"label": "任务"}}},
        });
        all.add("p", Some(&json!({"defaultLocale": "en"})), "x", &bundles);
        let more = json!({"locale": "de", "objects": {"task": {"pluralLabel": "Aufgaben"}},
            "apps": {"work": {"navigation": {"nav_all": {"label": "Alle"}}}}});
        all.add("p", None, "y", &more);
        all
    }

    fn task(language: &str, package: &str) -> Value {
        let mut shown = json!({"label": "Task", "pluralLabel": "Tasks", "fields": {"status": {
            "label": "Status", "type": "select",
            "options": [{"value": "open", "label": "Open", "color": "#fff"}, "done"]}}});
        let map = shown.as_object_mut().expect("a map");
        translations().apply(language, package, ItemType::Object, "task", map);
        shown
    }

    #[test]
    fn the_best_language_wins() {
        for (header, label) in [
            ("de", "Aufgabe"),
            ("DE-at", "Aufgabe"),
            ("fr, de;q=0.5", "Aufgabe"),
            ("de;q=0.4, zh;q=0.7", "任务"),
            ("zh-TW", "任务"),
            ("en, de", "Task"),
            ("en-GB;q=0.9, de;q=0.8", "Task"),
            ("*", "Task"),
            ("fr", "Task"),
            ("de;q=0", "Task"),
            ("", "Task"),
            (";;q=,de;q=x,,", "Task"),
        ] {
            assert_eq!(task(header, "p")["label"], label, "{header}");
            assert_eq!(task(header, "other")["label"], "Task", "{header}");
        }
    }

    #[test]
    fn only_texts_are_replaced() {
        let shown = task("de", "p");
        assert_eq!(shown["pluralLabel"], "Aufgaben");
        assert_eq!(
            shown["fields"]["status"],
            json!({"label": "Stand", "type": "select", "options": [
                {"value": "open", "label": "Offen", "color": "#fff"}, "done"]})
        );
    }

    #[test]
    fn navigation_and_what_hangs_on_an_object_are_translated() {
        let translate = |item_type, name, mut shown: Value| {
            let map = shown.as_object_mut().expect("a map");
            translations().apply("de", "p", item_type, name, map);
            shown
        };
        let app = json!({"navigation": [{"id": "group", "label": "All",
            "children": [{"id": "nav_all", "label": "All"}]}]});
        let app = translate(ItemType::App, "work", app);
        assert_eq!(app["navigation"][0]["label"], "All");
        assert_eq!(app["navigation"][0]["children"][0]["label"], "Alle");
        let action = json!({"object": "task", "label": "Close"});
        let action = translate(ItemType::Action, "close", action);
        assert_eq!(action["label"], "Schließen");
    }
}
