//! Pages of a list: how many a page holds, and where it begins.
//!
//! Guarantee: `limit` and `cursor` mean the same on every list; a cursor is one that a page gave, or it is refused.

use std::str::FromStr;

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::{Code, Problem};

/// How many a page holds, unless it is asked otherwise.
const USUAL: u32 = 25;
/// Most that a page holds.
const MAX: u32 = 100;

#[derive(Debug, Deserialize)]
struct Asked {
    cursor: Option<String>,
    limit: Option<u32>,
}

/// `limit` and `cursor` of a request, and whatever else its query holds (`W`).
#[derive(Debug)]
pub(crate) struct Page<W = Plain> {
    limit: u32,
    /// What the cursor stands for.
    after: Option<String>,
    /// The rest of the query.
    pub(crate) wanted: W,
}

impl<S: Send + Sync, W: Wanted> FromRequestParts<S> for Page<W> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let unread = || {
            let also = W::FIELDS.iter().map(|field| format!(", {field}")).collect::<String>();
            let detail = format!("the query holds limit (1 to {MAX}), cursor{also}, each at most once");
            Problem::new(Code::InvalidRequest, detail)
        };
        let Query(asked) = Query::<Asked>::try_from_uri(&parts.uri).map_err(|_| unread())?;
        let Query(wanted) = Query::<W>::try_from_uri(&parts.uri).map_err(|_| unread())?;
        let limit = asked.limit.unwrap_or(USUAL);
        if !(1..=MAX).contains(&limit) {
            return Err(Problem::new(Code::InvalidRequest, format!("limit is 1 to {MAX}")));
        }
        let after = asked.cursor.map(|cursor| read(&cursor).ok_or_else(not_ours)).transpose()?;
        Ok(Self { limit, after, wanted })
    }
}

/// What a list's query may hold beside `limit` and `cursor`.
pub(crate) trait Wanted: DeserializeOwned + Send {
    /// Names of the fields, for people.
    const FIELDS: &'static [&'static str] = &[];
}

/// Nothing.
#[derive(Debug, Deserialize)]
pub(crate) struct Plain {}

impl Wanted for Plain {}

impl<W> Page<W> {
    /// One more than asked for tells whether there is another page.
    pub(crate) fn one_more(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// How many it holds.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// What the page before ended with.
    pub(crate) fn after<T: FromStr>(&self) -> Result<Option<T>, Problem> {
        self.after.as_deref().map(|text| text.parse().map_err(|_| not_ours())).transpose()
    }

    /// The page of what was read by [`Self::one_more`], and the cursor of the next one, by the name of its last row.
    pub(crate) fn cut<T>(&self, mut rows: Vec<T>, name: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let next = rows.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(name(last)));
        (rows, next)
    }

    /// The answer, with a link to the next page (RFC 8288); `query` is what it is asked for beside limit and cursor.
    pub(crate) fn answer(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        next: Option<&str>,
        body: Value,
    ) -> Response {
        let mut response = Json(body).into_response();
        if let Some(next) = next {
            let mut text = form_urlencoded::Serializer::new(format!("limit={}", self.limit));
            text.extend_pairs(query.iter().filter_map(|(name, value)| Some((name, (*value)?))));
            let link = format!("<{path}?{}>; rel=\"next\"", text.append_pair("cursor", next).finish());
            if let Ok(link) = HeaderValue::from_str(&link) {
                response.headers_mut().insert(header::LINK, link);
            }
        }
        response
    }
}

fn not_ours() -> Problem {
    Problem::new(Code::InvalidRequest, "cursor is not one of ours")
}

fn read(cursor: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use reelfleet_messages::AssetId;

    use super::*;

    async fn of(query: &str) -> Result<Page<Plain>, Code> {
        let (mut parts, ()) = Request::get(format!("/v1/things?{query}")).body(()).unwrap().into_parts();
        Page::from_request_parts(&mut parts, &()).await.map_err(|problem| problem.code)
    }

    #[tokio::test]
    async fn a_cursor_reads_back_and_nothing_else_does() {
        let id: AssetId = "ast_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        let page = of("limit=1").await.unwrap();
        assert_eq!(page.cut(vec![id], AssetId::to_string), (vec![id], None), "the last page");
        let (rows, next) = page.cut(vec![id, id], AssetId::to_string);
        assert_eq!(rows, [id]);
        let next = of(&format!("cursor={}&other=1", next.unwrap())).await.unwrap();
        assert_eq!((next.after::<AssetId>().ok().unwrap(), next.limit()), (Some(id), 25));
        let job = URL_SAFE_NO_PAD.encode("job_01h455vb4pex5vsknk084sn02q");
        assert_eq!(
            of(&format!("cursor={job}")).await.unwrap().after::<AssetId>().unwrap_err().code,
            Code::InvalidRequest
        );
        for bad in ["cursor=%25", "limit=0", "limit=101", "limit=x", "limit=1&limit=2", "cursor=_w"] {
            assert_eq!(of(bad).await.unwrap_err(), Code::InvalidRequest, "{bad}");
        }
    }
}
