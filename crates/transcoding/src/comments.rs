//! The comments of the contract: they are what discovery and OpenAPI say.

use std::collections::HashMap;

use prost_reflect::FileDescriptor;

/// The comments of one file, by the path of what they stand on.
pub(crate) struct Comments(HashMap<Vec<i32>, String>);

impl Comments {
    /// Reads them.
    pub(crate) fn of(file: &FileDescriptor) -> Self {
        let info = file.file_descriptor_proto().source_code_info.as_ref();
        let locations = info.into_iter().flat_map(|info| &info.location);
        Self(
            locations
                .filter(|location| location.leading_comments.is_some())
                .map(|location| (location.path.clone(), text(location.leading_comments())))
                .collect(),
        )
    }

    /// What stands on the thing at that path; empty when nothing does.
    pub(crate) fn at(&self, path: &[i32]) -> String {
        self.0.get(path).cloned().unwrap_or_default()
    }
}

/// Lines joined to paragraphs. A page of the repository that is cited is left out: readers of the
/// OpenAPI document have other addresses for it.
fn text(comment: &str) -> String {
    let paragraphs = comment.split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        without_citations(&words.join(" "))
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

fn without_citations(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (docs/") {
        let Some((_, after)) = after.split_once(')') else {
            break;
        };
        out.push_str(before);
        rest = after;
    }
    out + rest
}

/// The first sentence of a comment, without its full stop.
pub(crate) fn summary(comment: &str) -> &str {
    let first = comment.split("\n\n").next().unwrap_or_default();
    let sentence = first
        .split_once(". ")
        .map_or(first, |(sentence, _)| sentence);
    sentence.trim_end_matches('.')
}

/// What a comment says beyond [`summary`].
pub(crate) fn details(comment: &str) -> &str {
    let rest = comment.get(summary(comment).len()..).unwrap_or_default();
    rest.trim_start_matches('.').trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_text() {
        let read = text(
            " Filter as JSON (docs/reference/objectql.md §3), for\n example `{}`. More.\n\n Last.\n",
        );
        assert_eq!(read, "Filter as JSON, for example `{}`. More.\n\nLast.");
        assert_eq!(summary(&read), "Filter as JSON, for example `{}`");
        assert_eq!(details(&read), "More.\n\nLast.");
        assert_eq!((summary("Done."), details("Done.")), ("Done", ""));
        assert_eq!((summary(""), details("")), ("", ""));
    }
}
