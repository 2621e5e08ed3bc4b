//! Pages of lists. A cursor is the key of the last item seen, opaque to callers, so that a page
//! costs the same however deep it is and never skips what was there before.

use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::error::AppError;

/// Items on a page unless asked otherwise.
pub const DEFAULT_LIMIT: i64 = 50;
/// Most items on a page.
pub const MAX_LIMIT: i64 = 200;
/// Longest cursor, in characters: keys are a few ids or names.
const MAX_CURSOR_CHARS: usize = 1024;

/// Which page. Put it into a route's query struct with `#[serde(flatten)]` never: its fields are
/// numbers, which flattening reads as text. Repeat the two fields and call [`PageQuery::new`].
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items on the page: 1 to 200, 50 unless given.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl PageQuery {
    /// From its fields.
    pub fn new(limit: Option<i64>, cursor: Option<String>) -> Self {
        Self { limit, cursor }
    }

    /// How many items the page may have.
    pub fn limit(&self) -> Result<i64, AppError> {
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            limit @ 1..=MAX_LIMIT => Ok(limit),
            other => Err(AppError::invalid("limit", format!("{other} is not in 1..={MAX_LIMIT}"))),
        }
    }

    /// The key after which the page starts.
    pub fn after<K: FromStr>(&self) -> Result<Option<K>, AppError> {
        let Some(cursor) = &self.cursor else {
            return Ok(None);
        };
        let key = (cursor.len() <= MAX_CURSOR_CHARS)
            .then(|| BASE64URL_NOPAD.decode(cursor.as_bytes()).ok())
            .flatten()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| text.parse().ok());
        match key {
            Some(key) => Ok(Some(key)),
            None => Err(AppError::invalid("cursor", "it is not the next_cursor of this list")),
        }
    }
}

/// One page.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// For the next page; null on the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// From `rows`, of which the caller read one more than `limit` to know whether more follow.
    /// `key` is what the next page starts after.
    pub fn of<R, K: ToString>(
        mut rows: Vec<R>,
        limit: i64,
        key: impl Fn(&R) -> K,
        item: impl FnMut(R) -> T,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .map(|last| BASE64URL_NOPAD.encode(key(last).to_string().as_bytes()));
        Self { items: rows.into_iter().map(item).collect(), next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_the_next_page_and_a_made_up_one_is_refused() {
        let page = Page::of(vec![1, 2, 3], 2, |&row| row, |row| row * 10);
        assert_eq!(page.items, [10, 20]);
        let next = PageQuery::new(None, page.next_cursor);
        assert_eq!(next.after::<i32>().unwrap(), Some(2));
        assert!(Page::of(vec![1, 2], 2, |&row| row, |row| row).next_cursor.is_none());
        for wrong in ["!", "AAAA", &"A".repeat(5000)] {
            assert!(PageQuery::new(None, Some(wrong.into())).after::<i32>().is_err());
        }
        assert!(PageQuery::new(Some(0), None).limit().is_err());
        assert!(PageQuery::new(Some(201), None).limit().is_err());
        assert_eq!(PageQuery::default().limit().unwrap(), 50);
    }
}
