//! Filters (RFC 7644, section 3.4.2.2): read once, asked of a value in a change or turned into SQL for
//! a list. Reading is bounded in length, depth and number of parts.

use serde_json::Value;

use super::Wrong;
use super::path::MAX_TEXT_BYTES;

/// Deepest nesting: nobody writes more than two or three.
const MAX_DEPTH: usize = 8;
/// Most comparisons: some providers ask for a list of members by id.
const MAX_PARTS: usize = 64;

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Contains.
    Co,
    /// Starts with.
    Sw,
    /// Ends with.
    Ew,
}

/// A question about a resource or a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Both.
    And(Box<Self>, Box<Self>),
    /// One or both.
    Or(Box<Self>, Box<Self>),
    /// Not so.
    Not(Box<Self>),
    /// There is something.
    Present(String),
    /// An attribute compared with a text or a flag.
    Compare(String, Op, Value),
}

/// Reads a filter.
///
/// # Errors
/// `invalidFilter`, with where.
pub fn parse(text: &str) -> Result<Filter, Wrong> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Wrong::new("invalidFilter", "the filter is longer than 4096 bytes"));
    }
    let mut reader = Reader { text, at: 0, parts: 0 };
    let filter = reader.either(0)?;
    match reader.peek() {
        None => Ok(filter),
        Some(_) => Err(reader.wrong("and, or, or the end is expected")),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    parts: usize,
}

impl<'t> Reader<'t> {
    fn wrong(&self, what: &str) -> Wrong {
        let at = self.text[..self.at].chars().count() + 1;
        Wrong::new("invalidFilter", format!("the filter is wrong at character {at}: {what}"))
    }

    fn rest(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn peek(&mut self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.at += expected.len_utf8();
        }
        found
    }

    /// The next word, without taking it.
    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c: char| c.is_whitespace() || "()[]\"".contains(c));
        &rest[..end.unwrap_or(rest.len())]
    }

    fn keyword(&mut self, expected: &str) -> bool {
        let found = self.word().eq_ignore_ascii_case(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    fn either(&mut self, depth: usize) -> Result<Filter, Wrong> {
        let mut left = self.both(depth)?;
        while self.keyword("or") {
            left = Filter::Or(Box::new(left), Box::new(self.both(depth)?));
        }
        Ok(left)
    }

    fn both(&mut self, depth: usize) -> Result<Filter, Wrong> {
        let mut left = self.one(depth)?;
        while self.keyword("and") {
            left = Filter::And(Box::new(left), Box::new(self.one(depth)?));
        }
        Ok(left)
    }

    fn one(&mut self, depth: usize) -> Result<Filter, Wrong> {
        if depth >= MAX_DEPTH {
            return Err(self.wrong("it is nested too deeply"));
        }
        if self.keyword("not") {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.eat('(') {
            let inside = self.either(depth + 1)?;
            return match self.eat(')') {
                true => Ok(inside),
                false => Err(self.wrong("a closing bracket is missing")),
            };
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Filter, Wrong> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(self.wrong("it has too many parts"));
        }
        let name = self.word();
        let good = |c: char| c.is_ascii_alphanumeric() || ".:$-_".contains(c);
        if name.is_empty() || !name.chars().all(good) {
            return Err(self.wrong("the name of an attribute is expected"));
        }
        self.at += name.len();
        let name = name.to_ascii_lowercase();
        if self.keyword("pr") {
            return Ok(Filter::Present(name));
        }
        let ops = [("eq", Op::Eq), ("ne", Op::Ne), ("co", Op::Co), ("sw", Op::Sw), ("ew", Op::Ew)];
        let found = ops.into_iter().find(|(word, _)| self.keyword(word));
        let (_, op) = found.ok_or_else(|| self.wrong("eq, ne, co, sw, ew or pr is expected"))?;
        let value = self.value()?;
        Ok(Filter::Compare(name, op, value))
    }

    fn value(&mut self) -> Result<Value, Wrong> {
        for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false))] {
            if self.keyword(word) {
                return Ok(value);
            }
        }
        let rest = self.rest();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        match values.next() {
            Some(Ok(text)) => {
                self.at += values.byte_offset();
                Ok(Value::String(text))
            }
            _ => Err(self.wrong("a text in double quotes, true or false is expected")),
        }
    }
}

impl Filter {
    /// Whether it holds for one value of an attribute with several.
    pub fn holds(&self, value: &Value) -> bool {
        match self {
            Self::And(a, b) => a.holds(value) && b.holds(value),
            Self::Or(a, b) => a.holds(value) || b.holds(value),
            Self::Not(a) => !a.holds(value),
            Self::Present(name) => field(value, name).is_some_and(|found| !found.is_null()),
            Self::Compare(name, op, expected) => {
                let found = field(value, name);
                match (found, expected) {
                    (Some(Value::Bool(found)), Value::Bool(expected)) => {
                        (found == expected) == (*op == Op::Eq)
                    }
                    (Some(Value::String(found)), Value::String(expected)) => {
                        let (found, expected) = (found.to_lowercase(), expected.to_lowercase());
                        match op {
                            Op::Eq => found == expected,
                            Op::Ne => found != expected,
                            Op::Co => found.contains(&expected),
                            Op::Sw => found.starts_with(&expected),
                            Op::Ew => found.ends_with(&expected),
                        }
                    }
                    (_, Value::Bool(expected)) => (*op == Op::Eq) != *expected,
                    _ => *op == Op::Ne,
                }
            }
        }
    }

    /// The values of `name` that it asks for, if it is `name eq "…" or name eq "…"` and nothing else.
    pub fn alternatives(&self, name: &str) -> Option<Vec<&str>> {
        match self {
            Self::Compare(found, Op::Eq, Value::String(text)) if found == name => {
                Some(vec![text.as_str()])
            }
            Self::Or(a, b) => {
                let (mut a, b) = (a.alternatives(name)?, b.alternatives(name)?);
                a.extend(b);
                Some(a)
            }
            _ => None,
        }
    }

    /// What must be equal in a value that is made because none was found.
    pub fn equalities(&self) -> Vec<(&str, &Value)> {
        match self {
            Self::Compare(name, Op::Eq, value) => vec![(name.as_str(), value)],
            Self::And(a, b) => [a.equalities(), b.equalities()].concat(),
            _ => Vec::new(),
        }
    }
}

fn field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let object = value.as_object()?;
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_are_read_and_asked() {
        let check = |text: &str, expected: bool| {
            let value = json!({"type": "work", "value": "Ada@Example.com", "primary": true});
            assert_eq!(parse(text).unwrap().holds(&value), expected, "{text}");
        };
        check("type eq \"work\"", true);
        check("TYPE EQ \"WORK\"", true);
        check("value co \"example\" and primary eq true", true);
        check("value ew \".org\" or not (type eq \"home\")", true);
        check("not (primary eq true)", false);
        check("display pr", false);
        check("type ne \"home\" and display ne \"x\"", true);
        check("primary eq false or value sw \"ada\"", true);
        check("type eq \"home\" or type eq \"other\" and primary eq true", false);
    }

    #[test]
    fn what_is_no_filter_is_refused_with_a_place() {
        let deep = format!("{}a pr{}", "(".repeat(20), ")".repeat(20));
        let many = vec!["a pr"; 65].join(" or ");
        let long = format!("a eq \"{}\"", "x".repeat(5000));
        for text in [
            "",
            "a",
            "a eq",
            "a eq b",
            "a gt \"b\"",
            "(a pr",
            "a pr b pr",
            "a eq \"b",
            &deep,
            &many,
            &long,
        ] {
            assert_eq!(parse(text).unwrap_err().kind, "invalidFilter", "{text}");
        }
        assert!(parse("é pr").unwrap_err().detail.contains("character 1"));
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in "[\\(\\)a-c \"\\[\\]éeqprandornot]{0,60}") {
            let _ = parse(&text);
        }
    }
}
