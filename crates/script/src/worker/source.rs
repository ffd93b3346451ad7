//! How the text of a script becomes a function.

/// Begins the line that the source begins on, so that lines count as the author's.
/// The source is in a function of its own: it may declare `input` again.
const BODY: (&str, &str) = (
    "(function (ctx, input, console, now, crypto) { return (async function () {",
    "\n}).call(undefined); })",
);
const EXPRESSION: (&str, &str) = (
    "(function (ctx, input, console, now, crypto) { return (",
    "\n); })",
);

/// The source as the body of a function.
pub(super) fn as_body(source: &str) -> String {
    [BODY.0, source, BODY.1].concat()
}

/// The source as an expression that gives a function, if it looks like one.
pub(super) fn as_expression(source: &str) -> Option<String> {
    let text = source.trim_end().trim_end_matches(';');
    let mut rest = skip_comments(text);
    rest = rest.strip_prefix("export default").unwrap_or(rest);
    let begin = text.len() - rest.len();
    let mut head = skip_comments(rest);
    if let Some(after) = head.strip_prefix("async")
        && after.starts_with(|c: char| c.is_whitespace() || c == '(')
    {
        head = after.trim_start();
    }
    let is_function = head.strip_prefix("function").is_some_and(|after| {
        after.starts_with(|c: char| c.is_whitespace() || c == '(' || c == '*')
    });
    if !is_function && !is_arrow(head) {
        return None;
    }
    // What is left out keeps its lines.
    let lines = "\n".repeat(text.get(..begin)?.matches('\n').count());
    Some([EXPRESSION.0, &lines, text.get(begin..)?, EXPRESSION.1].concat())
}

/// `(…) =>` or `name =>`.
fn is_arrow(head: &str) -> bool {
    let after = if let Some(inner) = head.strip_prefix('(') {
        let mut depth = 1_usize;
        let close = inner.char_indices().find(|(_, c)| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        close.and_then(|(at, _)| inner.get(at + 1..))
    } else {
        let end = head.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$');
        end.filter(|end| *end > 0).and_then(|end| head.get(end..))
    };
    after.is_some_and(|after| after.trim_start().starts_with("=>"))
}

fn skip_comments(text: &str) -> &str {
    let mut rest = text.trim_start();
    loop {
        let after = if let Some(comment) = rest.strip_prefix("//") {
            comment.split_once('\n').map(|(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, after)| after)
        } else {
            None
        };
        match after {
            Some(after) => rest = after.trim_start(),
            None => return rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::as_expression;

    #[test]
    fn functions_are_told_from_bodies() {
        for function in [
            "async (ctx) => { return 1; }",
            "(ctx) => ctx.input",
            "ctx => 1;",
            "async ctx => 1",
            "function (ctx) { return 1 }",
            "async function handler(ctx) { return 1 }",
            "// what it does\n/* and why */ ({ input, api }) => { return input }",
            "export default async function (ctx) {}",
            "function* (ctx) {}",
        ] {
            assert!(as_expression(function).is_some(), "{function}");
        }
        for body in [
            "return 1",
            "ctx.input.x = 1",
            "(ctx.input).x = 1",
            "const f = (x) => x; return f(1)",
            "asyncThing(); return 1",
            "functional(1)",
            "await ctx.api.object('x').find()",
            "",
            "// nothing",
        ] {
            assert_eq!(as_expression(body), None, "{body}");
        }
    }
}
