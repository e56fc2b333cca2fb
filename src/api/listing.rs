//! Lists of memories, and counts of what they would show.

use axum::Json;
use axum::extract::State;
use ocm_record::{Did, MemoryId, SpaceId};
use serde::{Deserialize, Serialize};

use super::body::{List, Parameters, no_cursor, page_size};
use super::memories::is_ahead;
use super::moment::Moment;
use super::problem::Problem;
use super::{Api, limits};
use crate::views::{self, Area, Filter, Item};

/// One memory of a list.
#[derive(Serialize)]
pub(super) struct Listed {
    id: MemoryId,
    space: SpaceId,
    author: Option<Did>,
    r#type: Option<String>,
    title: Option<String>,
    excerpt: Option<String>,
    at: Option<String>,
    place: Option<ocm_memory::Place>,
    tags: Vec<String>,
    created: Moment,
    updated: Moment,
    records: u64,
    heads: u64,
    conflicts: u64,
    ahead: bool,
    /// Why this is not the whole memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

impl From<Item> for Listed {
    fn from(Item { space, memory, row }: Item) -> Self {
        Self {
            id: memory,
            space,
            author: row.author,
            r#type: row.summary.kind,
            title: row.summary.title,
            excerpt: row.summary.text,
            at: row.summary.at,
            place: row.summary.place,
            tags: row.summary.tags,
            created: memory.0.time().into(),
            updated: row.updated.into(),
            records: row.records,
            heads: row.heads,
            conflicts: row.conflicts,
            ahead: is_ahead(row.updated),
            cause: row.cause,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    space: Option<String>,
    r#type: Option<String>,
    tag: Option<String>,
    author: Option<String>,
    since: Option<String>,
    until: Option<String>,
    text: Option<String>,
    bbox: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Reads a bounding box: west, south, east and north, in degrees.
fn area(text: &str) -> Result<Area, Problem> {
    let degrees: Vec<f64> = text.split(',').map_while(|part| part.trim().parse().ok()).collect();
    let [west, south, east, north] = degrees[..] else {
        return Err(Problem::bad(format!(
            "{text:?} is no box: give west,south,east,north in degrees, as 7.0,50.5,7.3,50.8"
        )));
    };
    let within = |degrees: &[f64], most: f64| degrees.iter().all(|at| at.abs() <= most);
    if text.split(',').count() != 4
        || !within(&[west, east], 180.0)
        || !within(&[south, north], 90.0)
        || south > north
    {
        return Err(Problem::bad(format!(
            "{text:?} is no box on the globe: west and east lie between -180 and 180 degrees, \
             south and north between -90 and 90, south not above north"
        )));
    }
    Ok(Area { west, south, east, north })
}

impl Wanted {
    async fn read(self, api: &Api) -> Result<Filter, Problem> {
        let moment = |text: Option<String>| {
            let moment = text.as_deref().map(Moment::parse).transpose().map_err(Problem::bad)?;
            Ok::<_, Problem>(moment.map(|moment| moment.0))
        };
        let limit = page_size(self.limit)?;
        if self.text.as_ref().is_some_and(|text| text.chars().count() > limits::FILTER_CHARS) {
            return Err(Problem::bad(format!(
                "a text to filter by has at most {} characters",
                limits::FILTER_CHARS
            )));
        }
        Ok(Filter {
            space: match self.space {
                Some(space) => Some(api.0.views.resolve_space(&space).await?),
                None => None,
            },
            kind: self.r#type,
            tag: self.tag,
            author: self.author.map(|did| did.parse()).transpose().map_err(Problem::bad)?,
            since_ms: moment(self.since)?,
            until_ms: moment(self.until)?,
            text: self.text,
            area: self.bbox.as_deref().map(area).transpose()?,
            before: self
                .cursor
                .map(|cursor| cursor.parse())
                .transpose()
                .map_err(|_| no_cursor())?,
            limit,
        })
    }
}

/// A page of a list, and how many memories have records that are not in the list yet.
#[derive(Serialize)]
pub(super) struct Page {
    #[serde(flatten)]
    list: List<Listed>,
    unrendered: u64,
}

pub(super) async fn list(
    State(api): State<Api>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<Page>, Problem> {
    let page = api.0.views.list(wanted.read(&api).await?).await?;
    let list = List {
        items: page.items.into_iter().map(Listed::from).collect(),
        next: page.next.map(|memory| memory.to_string()),
    };
    Ok(Json(Page { list, unrendered: page.unrendered }))
}

/// How many memories a list would show: all of them, or, where `complete` is false, so many at
/// least.
#[derive(Serialize)]
pub(super) struct Count {
    count: u64,
    complete: bool,
    unrendered: u64,
}

pub(super) async fn count(
    State(api): State<Api>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<Count>, Problem> {
    if wanted.limit.is_some() || wanted.cursor.is_some() {
        return Err(Problem::bad("a count has no pages: leave out limit and cursor"));
    }
    let views::Count { count, complete, unrendered } =
        api.0.views.count(wanted.read(&api).await?).await?;
    Ok(Json(Count { count, complete, unrendered }))
}
