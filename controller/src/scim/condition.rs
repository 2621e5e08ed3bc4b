//! Filters of lists as SQL, with every value bound. Columns come from a table in here, never from a
//! request.

use serde_json::Value;

use super::filter::{Filter, Op};
use super::schema::Type;
use super::{Wrong, path};
use crate::store::scim::{Bound, Condition};

/// A filter as SQL on what is kept beside the profile.
///
/// # Errors
/// `invalidFilter` for what lists are not filtered by.
pub fn condition(filter: &Filter, kind: Type) -> Result<Condition, Wrong> {
    let mut condition = Condition::default();
    condition.sql = sql(filter, kind, &mut condition.values)?;
    Ok(condition)
}

fn sql(filter: &Filter, kind: Type, values: &mut Vec<Bound>) -> Result<String, Wrong> {
    Ok(match filter {
        Filter::And(a, b) => {
            format!("({} AND {})", sql(a, kind, values)?, sql(b, kind, values)?)
        }
        Filter::Or(a, b) => format!("({} OR {})", sql(a, kind, values)?, sql(b, kind, values)?),
        Filter::Not(a) => format!("NOT {}", sql(a, kind, values)?),
        Filter::Present(name) => match column(kind, name)? {
            ("active", _) => "active IN (0, 1)".to_owned(),
            (column, _) => format!("{column} <> ''"),
        },
        Filter::Compare(name, op, value) => {
            let (column, fold) = column(kind, name)?;
            let at = values.len() + 2;
            match (column, value) {
                ("active", Value::Bool(flag)) => {
                    values.push(Bound::Flag(i64::from(*flag)));
                    format!("active {} ${at}", if *op == Op::Eq { "=" } else { "<>" })
                }
                (_, Value::String(text)) if column != "active" => {
                    let text = if fold { text.to_lowercase() } else { text.clone() };
                    let column = if fold { format!("lower({column})") } else { column.to_owned() };
                    let empty = text.is_empty();
                    values.push(Bound::Text(text));
                    compare(&column, *op, at, empty)
                }
                _ => {
                    let detail = format!("{name} is not compared with such a value");
                    return Err(Wrong::new("invalidFilter", detail));
                }
            }
        }
    })
}

/// No LIKE: what it takes for the same differs between databases.
fn compare(column: &str, op: Op, at: usize, empty: bool) -> String {
    let whole = format!("length({column}) >= length(${at})");
    match op {
        Op::Eq => format!("{column} = ${at}"),
        Op::Ne => format!("{column} <> ${at}"),
        _ if empty => whole,
        Op::Co => format!("replace({column}, ${at}, '') <> {column}"),
        Op::Sw => format!("substr({column}, 1, length(${at})) = ${at}"),
        Op::Ew => {
            format!("({whole} AND substr({column}, length({column}) - length(${at}) + 1) = ${at})")
        }
    }
}

/// The column of an attribute, and whether capitals do not matter in it.
fn column(kind: Type, name: &str) -> Result<(&'static str, bool), Wrong> {
    let bare = path::bare(kind, name);
    let found = match (kind, bare) {
        (_, "id") => ("id", false),
        (_, "externalid") => ("external_id", false),
        (Type::User, "username") => ("user_name", true),
        (Type::User, "displayname") => ("display_name", true),
        (Type::User, "emails" | "emails.value") => ("email", true),
        (Type::User, "active") => ("active", false),
        (Type::Group, "displayname") => ("name", true),
        _ => {
            let names = match kind {
                Type::User => "userName, displayName, emails.value, active",
                Type::Group => "displayName",
            };
            let shown: String = name.chars().take(80).collect();
            let detail =
                format!("lists are filtered by id, externalId, {names}, and not by {shown:?}");
            return Err(Wrong::new("invalidFilter", detail));
        }
    };
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::filter::parse;
    use super::*;

    #[test]
    fn filters_become_sql_with_bound_values() {
        let check = |text: &str, sql: &str, values: &[&str]| {
            let found = condition(&parse(text).unwrap(), Type::User).unwrap();
            assert_eq!(found.sql, sql);
            let expected: Vec<_> = values.iter().map(|v| Bound::Text((*v).to_owned())).collect();
            assert_eq!(found.values, expected);
        };
        check("userName eq \"ADA' OR 1=1\"", "lower(user_name) = $2", &["ada' or 1=1"]);
        check(
            "externalId eq \"A\" or not (displayName sw \"b\")",
            "(external_id = $2 OR NOT substr(lower(display_name), 1, length($3)) = $3)",
            &["A", "b"],
        );
        check("emails.value pr", "email <> ''", &[]);
        let urn = "urn:ietf:params:scim:schemas:core:2.0:User:userName eq \"a\"";
        check(urn, "lower(user_name) = $2", &["a"]);
    }

    #[test]
    fn what_lists_are_not_filtered_by_is_refused() {
        for text in ["password eq \"x\"", "active eq \"x\"", "userName eq true", "roles pr"] {
            let error = condition(&parse(text).unwrap(), Type::User).unwrap_err();
            assert_eq!(error.kind, "invalidFilter", "{text}");
        }
    }
}
