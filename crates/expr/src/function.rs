//! The functions an expression may call: those of CEL and of its string extension that fit, and
//! those of the reference system (spec of metadata, expressions).
//!
//! Each may be written as `f(x, …)` or as a method, `x.f(…)`.

use rust_decimal::{Decimal, RoundingStrategy};
use time::{Date, Duration, OffsetDateTime};

use crate::{
    error::EvalErrorKind,
    eval::Run,
    moment::{add_months, parse_date, parse_duration},
    program,
    value::{self, Text, Val, mismatch, to_text},
};

macro_rules! functions {
    ($($variant:ident: $($name:literal)|+, $least:literal ..= $most:literal;)*) => {
        /// A function, under whichever of its names it is called.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Function { $($variant),* }

        impl Function {
            pub(crate) fn named(name: &str) -> Option<Function> {
                match name {
                    $($($name)|+ => Some(Function::$variant),)*
                    _ => None,
                }
            }

            /// The fewest and most arguments, a method's receiver included.
            fn count(self) -> (usize, usize) {
                match self { $(Function::$variant => ($least, $most)),* }
            }

            /// Its first name.
            fn name(self) -> &'static str {
                match self { $(Function::$variant => [$($name),+][0]),* }
            }
        }

        const NAMES: &[&str] = &[$($($name),+),*];
    };
}

functions! {
    Now: "now" | "NOW", 0..=0;
    Today: "today" | "TODAY", 0..=0;
    DaysFromNow: "daysFromNow", 1..=1;
    DaysAgo: "daysAgo", 1..=1;
    AddDays: "addDays", 2..=2;
    AddMonths: "addMonths", 2..=2;
    DaysBetween: "daysBetween", 2..=2;
    Date: "date", 1..=1;
    Moment: "datetime" | "timestamp", 1..=1;
    Duration: "duration", 1..=1;
    IsBlank: "isBlank", 1..=1;
    IsEmpty: "isEmpty", 1..=1;
    Coalesce: "coalesce", 1..=32;
    Trim: "trim", 1..=1;
    Join: "join", 1..=2;
    JoinNonEmpty: "joinNonEmpty", 2..=2;
    Upper: "upper" | "upperAscii", 1..=1;
    Lower: "lower" | "lowerAscii", 1..=1;
    Contains: "contains", 2..=2;
    StartsWith: "startsWith", 2..=2;
    EndsWith: "endsWith", 2..=2;
    Matches: "matches", 2..=2;
    Size: "size" | "len", 1..=1;
    Abs: "abs", 1..=1;
    Round: "round", 1..=2;
    Floor: "floor", 1..=1;
    Ceil: "ceil", 1..=1;
    Min: "min", 1..=32;
    Max: "max", 1..=32;
    Text: "string", 1..=1;
    Int: "int" | "uint", 1..=1;
    Number: "double", 1..=1;
    Bool: "bool", 1..=1;
    Dyn: "dyn", 1..=1;
    Split: "split", 2..=2;
    Replace: "replace", 3..=3;
    Substring: "substring", 2..=3;
    IndexOf: "indexOf", 2..=2;
    Year: "getFullYear", 1..=1;
    Month: "getMonth", 1..=1;
    DayOfMonth: "getDate", 1..=1;
    DayOfMonth0: "getDayOfMonth", 1..=1;
    DayOfWeek: "getDayOfWeek", 1..=1;
    DayOfYear: "getDayOfYear", 1..=1;
    Hours: "getHours", 1..=1;
    Minutes: "getMinutes", 1..=1;
    Seconds: "getSeconds", 1..=1;
    Milliseconds: "getMilliseconds", 1..=1;
}

/// What to say about a name that is no function.
pub(crate) fn unknown(name: &str) -> String {
    let same = NAMES
        .iter()
        .find(|known| known.eq_ignore_ascii_case(name))
        .or_else(|| {
            NAMES.iter().find(|known| {
                name.len() > 3 && (known.starts_with(name) || name.starts_with(*known))
            })
        });
    match same {
        Some(known) => format!("there is no function `{name}`; did you mean `{known}`?"),
        None => format!("there is no function `{name}`"),
    }
}

type Outcome<'r> = Result<Val<'r>, EvalErrorKind>;

impl Function {
    pub(crate) fn check_count(self, name: &str, count: usize, method: bool) -> Result<(), String> {
        let (least, most) = self.count();
        if (least..=most).contains(&count) {
            return Ok(());
        }
        let less = usize::from(method);
        if method && least == 0 {
            return Err(format!("`{name}` is not a method"));
        }
        let (least, most) = (least.saturating_sub(less), most - less);
        let wanted = if least == most {
            least.to_string()
        } else {
            format!("{least} to {most}")
        };
        Err(format!(
            "`{name}` takes {wanted} argument(s), not {}",
            count - less
        ))
    }

    pub(crate) fn call<'r>(self, run: &mut Run<'r>, arguments: Vec<Val<'r>>) -> Outcome<'r> {
        match arguments.as_slice() {
            [] => Ok(match self {
                Function::Now => Val::Moment(run.scope.now),
                _ => Val::Date(run.scope.today()),
            }),
            [one] => self.unary(run, one),
            [left, right] => self.binary(run, left, right),
            all => self.many(run, all),
        }
    }

    fn refuse(self, arguments: &[&Val<'_>]) -> EvalErrorKind {
        mismatch(self.name(), arguments)
    }

    fn malformed(self, problem: impl Into<String>) -> EvalErrorKind {
        EvalErrorKind::Format {
            what: self.name().to_owned(),
            problem: problem.into(),
        }
    }

    fn unary<'r>(self, run: &mut Run<'r>, value: &Val<'r>) -> Outcome<'r> {
        let refused = || self.refuse(&[value]);
        Ok(match self {
            Function::DaysFromNow | Function::DaysAgo => {
                let days = value.as_i64().ok_or_else(refused)?;
                let days = self.days(days)?;
                let days = if self == Function::DaysAgo {
                    -days
                } else {
                    days
                };
                let date = run.scope.today().checked_add(days);
                Val::Date(date.ok_or(EvalErrorKind::Overflow)?)
            }
            Function::Date => match value {
                Val::Date(_) => value.clone(),
                Val::Moment(moment) => Val::Date(moment.date()),
                Val::Text(text) => {
                    match parse_date(text).or_else(|| value.as_moment().map(OffsetDateTime::date)) {
                        Some(date) => Val::Date(date),
                        None => return Err(self.malformed("write a date as YYYY-MM-DD")),
                    }
                }
                _ => return Err(refused()),
            },
            Function::Moment => match value {
                Val::Text(_) => match value.as_moment() {
                    Some(moment) => Val::Moment(moment),
                    None => return Err(self.malformed("write a moment as 2026-01-31T10:00:00Z")),
                },
                _ => Val::Moment(value.as_moment().ok_or_else(refused)?),
            },
            Function::Duration => match value {
                Val::Duration(_) => value.clone(),
                Val::Text(text) => match parse_duration(text) {
                    Some(duration) => Val::Duration(duration),
                    None => return Err(self.malformed("write a duration as 720h or P30D")),
                },
                _ => return Err(refused()),
            },
            Function::IsBlank => Val::Bool(match value {
                Val::Text(text) => text.trim().is_empty(),
                other => other.is_empty(),
            }),
            Function::IsEmpty => Val::Bool(value.is_empty()),
            Function::Coalesce | Function::Dyn => value.clone(),
            Function::Min | Function::Max => match value.items() {
                Some(items) => self.extreme(run, &items)?,
                None => self.extreme(run, std::slice::from_ref(value))?,
            },
            Function::Trim => run.text(self.string(value)?.trim().to_owned())?,
            Function::Upper => self.cased(run, value, str::to_uppercase)?,
            Function::Lower => self.cased(run, value, str::to_lowercase)?,
            Function::Join => self.join(run, value, "", false)?,
            Function::Size => match value {
                Val::Null => Val::Int(0),
                other => Val::Int(integer(other.size().ok_or_else(refused)?)),
            },
            Function::Abs => match value {
                Val::Int(value) => Val::Int(value.checked_abs().ok_or(EvalErrorKind::Overflow)?),
                Val::Number(value) => Val::Number(value.abs()),
                Val::Double(value) => Val::Double(value.abs()),
                _ => return Err(refused()),
            },
            Function::Round => self.round(value, 0)?,
            Function::Floor => self.rounded(value, |number| number.floor(), f64::floor)?,
            Function::Ceil => self.rounded(value, |number| number.ceil(), f64::ceil)?,
            Function::Text => match to_text(value) {
                Some(text) => run.text(text)?,
                None => return Err(refused()),
            },
            Function::Int => match value {
                Val::Text(text) => match text.trim().parse() {
                    Ok(number) => Val::Int(number),
                    Err(_) => return Err(self.malformed("not an integer")),
                },
                Val::Moment(moment) => Val::Int(moment.unix_timestamp()),
                Val::Bool(_) => return Err(refused()),
                number => {
                    let number = number.as_f64().ok_or_else(refused)?.trunc();
                    match value.as_decimal().map(|exact| exact.trunc()) {
                        Some(exact) => {
                            Val::Int(exact.try_into().map_err(|_| EvalErrorKind::Overflow)?)
                        }
                        None if number.abs() < 9.2e18 => {
                            #[expect(clippy::cast_possible_truncation, reason = "checked above")]
                            let number = number as i64;
                            Val::Int(number)
                        }
                        None => return Err(EvalErrorKind::Overflow),
                    }
                }
            },
            Function::Number => match value {
                Val::Text(text) => match text.trim().parse::<f64>() {
                    Ok(number) if number.is_finite() => {
                        value::decimal(number).map_or(Val::Double(number), Val::Number)
                    }
                    _ => return Err(self.malformed("not a number")),
                },
                Val::Int(number) => Val::Number((*number).into()),
                Val::Number(_) | Val::Double(_) => value.clone(),
                _ => return Err(refused()),
            },
            Function::Bool => match value {
                Val::Bool(_) => value.clone(),
                Val::Text(text) => match &**text {
                    "true" | "True" | "TRUE" | "t" | "1" => Val::Bool(true),
                    "false" | "False" | "FALSE" | "f" | "0" => Val::Bool(false),
                    _ => return Err(self.malformed("not a boolean")),
                },
                _ => return Err(refused()),
            },
            _ => self.part(value)?,
        })
    }

    /// A part of a moment, or of a duration in whole units.
    fn part<'r>(self, value: &Val<'r>) -> Outcome<'r> {
        if let Val::Duration(duration) = value {
            return Ok(Val::Int(match self {
                Function::Hours => duration.whole_hours(),
                Function::Minutes => duration.whole_minutes(),
                Function::Seconds => duration.whole_seconds(),
                Function::Milliseconds => duration.subsec_milliseconds().into(),
                _ => return Err(self.refuse(&[value])),
            }));
        }
        let Some(moment) = value.as_moment() else {
            return Err(self.refuse(&[value]));
        };
        Ok(Val::Int(match self {
            Function::Year => moment.year().into(),
            Function::Month => i64::from(u8::from(moment.month())) - 1,
            Function::DayOfMonth => moment.day().into(),
            Function::DayOfMonth0 => i64::from(moment.day()) - 1,
            Function::DayOfWeek => moment.weekday().number_days_from_sunday().into(),
            Function::DayOfYear => i64::from(moment.ordinal()) - 1,
            Function::Hours => moment.hour().into(),
            Function::Minutes => moment.minute().into(),
            Function::Seconds => moment.second().into(),
            Function::Milliseconds => moment.millisecond().into(),
            _ => return Err(self.refuse(&[value])),
        }))
    }

    fn binary<'r>(self, run: &mut Run<'r>, left: &Val<'r>, right: &Val<'r>) -> Outcome<'r> {
        let refused = || self.refuse(&[left, right]);
        Ok(match self {
            Function::AddDays => {
                let days = self.days(right.as_i64().ok_or_else(refused)?)?;
                let added = match self.time(left)? {
                    Time::Date(date) => date.checked_add(days).map(Val::Date),
                    Time::Moment(moment) => moment.checked_add(days).map(Val::Moment),
                };
                added.ok_or(EvalErrorKind::Overflow)?
            }
            Function::AddMonths => {
                let months = right.as_i64().ok_or_else(refused)?;
                let added = match self.time(left)? {
                    Time::Date(date) => add_months(date, months).map(Val::Date),
                    Time::Moment(moment) => add_months(moment.date(), months)
                        .map(|date| Val::Moment(moment.replace_date(date))),
                };
                added.ok_or(EvalErrorKind::Overflow)?
            }
            Function::DaysBetween => {
                let from = left.as_moment().ok_or_else(refused)?;
                let to = right.as_moment().ok_or_else(refused)?;
                Val::Int((to - from).whole_days())
            }
            Function::Contains | Function::StartsWith | Function::EndsWith => {
                if self == Function::Contains && !matches!(left, Val::Text(_)) {
                    let items = left.items().ok_or_else(refused)?;
                    run.charge(left)?;
                    run.charge(right)?;
                    return Ok(Val::Bool(
                        items.iter().any(|item| value::equal(item, right)),
                    ));
                }
                let (Val::Text(text), Val::Text(part)) = (left, right) else {
                    return Err(refused());
                };
                run.step(text.len() / 64)?;
                Val::Bool(match self {
                    Function::StartsWith => text.starts_with(&**part),
                    Function::EndsWith => text.ends_with(&**part),
                    _ => text.contains(&**part),
                })
            }
            Function::Matches => {
                let (Val::Text(text), Val::Text(pattern)) = (left, right) else {
                    return Err(refused());
                };
                run.step(5_000 + text.len() / 16)?;
                let pattern = program::regex(pattern).map_err(|problem| self.malformed(problem))?;
                Val::Bool(pattern.is_match(text))
            }
            Function::Round => {
                let digits = right.as_i64().and_then(|digits| u32::try_from(digits).ok());
                self.round(
                    left,
                    digits.filter(|digits| *digits <= 28).ok_or_else(refused)?,
                )?
            }
            Function::Join | Function::JoinNonEmpty => {
                let Val::Text(separator) = right else {
                    return Err(refused());
                };
                self.join(run, left, separator, self == Function::JoinNonEmpty)?
            }
            Function::Split => {
                let (Val::Text(text), Val::Text(separator)) = (left, right) else {
                    return Err(refused());
                };
                run.memory(text.len())?;
                run.step(text.len() / 16)?;
                let parts: Vec<_> = text.split(&**separator).map(Val::text).collect();
                run.step(parts.len())?;
                Val::list(parts)
            }
            Function::IndexOf => {
                let (Val::Text(text), Val::Text(part)) = (left, right) else {
                    return Err(refused());
                };
                run.step(text.len() / 16)?;
                let found = text.find(&**part).and_then(|at| text.get(..at));
                Val::Int(found.map_or(-1, |before| integer(before.chars().count())))
            }
            Function::Substring => {
                let begin = right.as_i64().and_then(|at| usize::try_from(at).ok());
                self.substring(run, left, begin.ok_or_else(refused)?, None)?
            }
            _ => return self.many(run, &[left.clone(), right.clone()]),
        })
    }

    fn many<'r>(self, run: &mut Run<'r>, arguments: &[Val<'r>]) -> Outcome<'r> {
        let refused = || self.refuse(&arguments.iter().collect::<Vec<_>>());
        Ok(match (self, arguments) {
            (Function::Coalesce, all) => all
                .iter()
                .find(|value| !matches!(value, Val::Null))
                .cloned()
                .unwrap_or(Val::Null),
            (Function::Min | Function::Max, all) => self.extreme(run, all)?,
            (Function::Replace, [Val::Text(text), Val::Text(from), Val::Text(to)]) => {
                run.step(text.len() / 16)?;
                let found = if from.is_empty() {
                    text.chars().count() + 1
                } else {
                    text.matches(&**from).count()
                };
                run.memory(text.len().saturating_add(found.saturating_mul(to.len())))?;
                Val::text(text.replace(&**from, to))
            }
            (Function::Substring, [text, begin, end]) => {
                let position =
                    |value: &Val<'_>| value.as_i64().and_then(|at| usize::try_from(at).ok());
                let begin = position(begin).ok_or_else(refused)?;
                let end = position(end).ok_or_else(refused)?;
                self.substring(run, text, begin, Some(end))?
            }
            _ => return Err(refused()),
        })
    }

    fn days(self, days: i64) -> Result<Duration, EvalErrorKind> {
        // Beyond this no date is anyway.
        if days.unsigned_abs() > 10_000_000 {
            return Err(EvalErrorKind::Overflow);
        }
        Ok(Duration::days(days))
    }

    fn time(self, value: &Val<'_>) -> Result<Time, EvalErrorKind> {
        match value {
            Val::Date(date) => Ok(Time::Date(*date)),
            Val::Text(text) => match parse_date(text) {
                Some(date) => Ok(Time::Date(date)),
                None => value
                    .as_moment()
                    .map(Time::Moment)
                    .ok_or_else(|| self.malformed("neither a date nor a moment")),
            },
            _ => value
                .as_moment()
                .map(Time::Moment)
                .ok_or_else(|| self.refuse(&[value])),
        }
    }

    fn string<'v>(self, value: &'v Val<'_>) -> Result<&'v str, EvalErrorKind> {
        match value {
            Val::Text(text) => Ok(text),
            other => Err(self.refuse(&[other])),
        }
    }

    fn cased<'r>(
        self,
        run: &mut Run<'r>,
        value: &Val<'r>,
        change: fn(&str) -> String,
    ) -> Outcome<'r> {
        let text = self.string(value)?;
        run.memory(text.len())?;
        run.text(change(text))
    }

    /// Half away from zero, as people round money.
    fn round<'r>(self, value: &Val<'r>, digits: u32) -> Outcome<'r> {
        let strategy = RoundingStrategy::MidpointAwayFromZero;
        self.rounded(
            value,
            |number| number.round_dp_with_strategy(digits, strategy),
            |number| number,
        )
    }

    fn rounded<'r>(
        self,
        value: &Val<'r>,
        exact: impl Fn(Decimal) -> Decimal,
        double: impl Fn(f64) -> f64,
    ) -> Outcome<'r> {
        Ok(match value {
            Val::Int(_) => value.clone(),
            Val::Number(number) => Val::Number(exact(*number)),
            Val::Double(number) => Val::Double(double(*number)),
            _ => return Err(self.refuse(&[value])),
        })
    }

    /// The least or greatest; null values are passed over, and of nothing it is null.
    fn extreme<'r>(self, run: &mut Run<'r>, values: &[Val<'r>]) -> Outcome<'r> {
        let comparison = if self == Function::Min {
            crate::Comparison::Less
        } else {
            crate::Comparison::Greater
        };
        let mut best: Option<&Val<'r>> = None;
        for value in values.iter().filter(|value| !matches!(value, Val::Null)) {
            run.step(1)?;
            run.charge(value)?;
            let better = match best {
                Some(best) => value::compare(comparison, value, best)
                    .map_err(|_| self.refuse(&[value, best]))?,
                None => true,
            };
            if better {
                best = Some(value);
            }
        }
        Ok(best.cloned().unwrap_or(Val::Null))
    }

    fn join<'r>(
        self,
        run: &mut Run<'r>,
        list: &Val<'r>,
        separator: &str,
        skip: bool,
    ) -> Outcome<'r> {
        let items = list.items().ok_or_else(|| self.refuse(&[list]))?;
        run.step(items.len())?;
        let mut joined = String::new();
        let mut first = true;
        for item in &items {
            let text = match item {
                Val::Text(text) => text.clone(),
                other => match to_text(other) {
                    Some(text) => Text::Shared(text.into()),
                    None => return Err(self.refuse(&[other])),
                },
            };
            if skip && text.trim().is_empty() {
                continue;
            }
            run.memory(text.len() + separator.len())?;
            if !first {
                joined.push_str(separator);
            }
            first = false;
            joined.push_str(&text);
        }
        Ok(Val::text(joined))
    }

    fn substring<'r>(
        self,
        run: &mut Run<'r>,
        text: &Val<'r>,
        begin: usize,
        end: Option<usize>,
    ) -> Outcome<'r> {
        let text = self.string(text)?;
        run.step(text.len() / 16)?;
        let length = text.chars().count();
        let end = end.unwrap_or(length);
        if begin > end || end > length {
            return Err(self.malformed("the positions are outside of the text"));
        }
        run.text(text.chars().skip(begin).take(end - begin).collect())
    }
}

enum Time {
    Date(Date),
    Moment(OffsetDateTime),
}

fn integer(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
