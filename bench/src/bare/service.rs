//! The bare program's service: gRPC in, SQL out. The same code for both databases, which differ in
//! how they hold moments and money.

use std::{collections::HashMap, net::SocketAddr, str::FromStr as _};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{
    ColumnIndex, Database, Decode, FromRow, PgPool, Postgres, QueryBuilder, Row, SqlitePool, Type,
    error::BoxDynError,
    postgres::{PgConnectOptions, PgPoolOptions, PgTypeInfo, PgValueRef},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    types::Json,
};
use time::{OffsetDateTime, macros::format_description};
use tonic::{Request, Response, Status, transport::Server};

use super::contract::{
    Answer, ChangeRequest, CreateRequest, GetRequest, ListRequest,
    tickets_server::{Tickets, TicketsServer},
};

/// As many as data-svc has by default.
const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 20;

/// A table's row: written as JSON, read from either database.
macro_rules! row {
    ($row:ident { $($field:ident: $kind:ty,)* }) => {
        #[derive(Serialize)]
        struct $row<M> {
            $($field: $kind,)*
        }

        impl<'r, R: Row, M> FromRow<'r, R> for $row<M>
        where
            &'static str: ColumnIndex<R>,
            $($kind: Decode<'r, R::Database> + Type<R::Database>,)*
        {
            fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
                Ok(Self { $($field: row.try_get(stringify!($field))?,)* })
            }
        }
    };
}

row!(Ticket {
    id: String,
    ticket_number: Option<String>,
    subject: String,
    description: Option<String>,
    status: String,
    priority: String,
    channel: Option<String>,
    customer: Reference,
    assignee: Option<String>,
    due_at: Option<M>,
    resolved_at: Option<M>,
    first_response_minutes: Option<i64>,
    satisfaction: Option<f64>,
    tags: Option<Json<Box<RawValue>>>,
    escalated: Option<bool>,
    created_at: M,
    created_by: Option<String>,
    updated_at: M,
    updated_by: Option<String>,
    version: i64,
});

row!(Customer {
    id: String,
    name: String,
    email: String,
    phone: Option<String>,
    company: Option<String>,
    tier: Option<String>,
    city: Option<String>,
    country: Option<String>,
    website: Option<String>,
    annual_value: Option<f64>,
    active: Option<bool>,
    notes: Option<String>,
    created_at: M,
    created_by: Option<String>,
    updated_at: M,
    updated_by: Option<String>,
    version: i64,
});

/// An id, or the record in its place.
#[derive(Serialize)]
#[serde(untagged)]
enum Reference {
    Id(String),
    Record(Box<RawValue>),
}

impl<D: Database> Type<D> for Reference
where
    String: Type<D>,
{
    fn type_info() -> D::TypeInfo {
        String::type_info()
    }

    fn compatible(kind: &D::TypeInfo) -> bool {
        String::compatible(kind)
    }
}

impl<'r, D: Database> Decode<'r, D> for Reference
where
    String: Decode<'r, D>,
{
    fn decode(value: D::ValueRef<'r>) -> Result<Self, BoxDynError> {
        String::decode(value).map(Self::Id)
    }
}

#[derive(Deserialize)]
struct NewTicket {
    subject: String,
    description: Option<String>,
    priority: String,
    customer: String,
    tags: Json<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Change {
    priority: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<M> {
    items: Vec<Ticket<M>>,
    total: i64,
    next_cursor: Option<String>,
}

/// A moment of PostgreSQL, written as SQLite's text is.
struct Moment(OffsetDateTime);

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(self.0))
    }
}

impl Type<Postgres> for Moment {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for Moment {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        <OffsetDateTime as Decode<Postgres>>::decode(value).map(Self)
    }
}

fn text(moment: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    moment.format(format).unwrap_or_default()
}

macro_rules! ticket_columns {
    () => {
        "id, ticket_number, subject, description, status, priority, channel, customer, assignee, \
         due_at, resolved_at, first_response_minutes, satisfaction, tags, escalated, \
         created_at, created_by, updated_at, updated_by, version"
    };
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// The service on one kind of database: `$now` is the time as it is bound, `$money` the expression
/// of a customer's annual value.
macro_rules! tickets {
    ($service:ident, $pool:ty, $moment:ty, $now:expr, $money:literal) => {
        struct $service {
            read: $pool,
            write: $pool,
        }

        #[tonic::async_trait]
        impl Tickets for $service {
            async fn get(&self, request: Request<GetRequest>) -> Result<Response<Answer>, Status> {
                let sql = concat!("SELECT ", ticket_columns!(), " FROM support_ticket WHERE id = $1");
                let id = request.into_inner().id;
                let row = sqlx::query_as(sql).bind(id).fetch_optional(&self.read).await;
                let row: Option<Ticket<$moment>> = row.map_err(refused)?;
                answer(&row.ok_or_else(|| Status::not_found("no such ticket"))?)
            }

            async fn list(&self, request: Request<ListRequest>) -> Result<Response<Answer>, Status> {
                let ListRequest { status, limit, expand_customer } = request.into_inner();
                let sql = concat!(
                    "SELECT ", ticket_columns!(),
                    " FROM support_ticket WHERE status = $1 ORDER BY created_at DESC, id DESC LIMIT $2"
                );
                let items = sqlx::query_as(sql).bind(&status).bind(limit).fetch_all(&self.read);
                let mut items: Vec<Ticket<$moment>> = items.await.map_err(refused)?;
                let sql = "SELECT count(*) FROM support_ticket WHERE status = $1";
                let total = sqlx::query_scalar(sql).bind(&status).fetch_one(&self.read);
                let total: i64 = total.await.map_err(refused)?;
                if expand_customer {
                    let mut query = QueryBuilder::new(concat!(
                        "SELECT id, name, email, phone, company, tier, city, country, website, ", $money,
                        " AS annual_value, active, notes, created_at, created_by, updated_at, \
                         updated_by, version FROM customer WHERE id IN ("
                    ));
                    let mut ids = query.separated(", ");
                    for id in customers(&items) {
                        ids.push_bind(id);
                    }
                    ids.push_unseparated(")");
                    let found = query.build_query_as().fetch_all(&self.read).await;
                    let found: Vec<Customer<$moment>> = found.map_err(refused)?;
                    expand(&mut items, found)?;
                }
                answer(&Page { items, total, next_cursor: None })
            }

            async fn create(&self, request: Request<CreateRequest>) -> Result<Response<Answer>, Status> {
                let new: NewTicket = body(&request.into_inner().record)?;
                let id = ulid::Ulid::generate().to_string();
                let sql = concat!(
                    "INSERT INTO support_ticket (id, ticket_number, subject, description, status, priority, \
                     channel, customer, tags, escalated, created_at, updated_at, version) \
                     VALUES ($1, $2, $3, $4, 'open', $5, 'web', $6, $7, false, $8, $8, 1) RETURNING ",
                    ticket_columns!()
                );
                let query = sqlx::query_as(sql).bind(&id).bind(format!("B-{id}")).bind(new.subject);
                let query = query.bind(new.description).bind(new.priority).bind(new.customer);
                let query = query.bind(new.tags).bind($now);
                let row: Ticket<$moment> = query.fetch_one(&self.write).await.map_err(refused)?;
                answer(&row)
            }

            async fn change(&self, request: Request<ChangeRequest>) -> Result<Response<Answer>, Status> {
                let ChangeRequest { id, record } = request.into_inner();
                let change: Change = body(&record)?;
                let sql = concat!(
                    "UPDATE support_ticket SET priority = $2, updated_at = $3, version = version + 1 \
                     WHERE id = $1 RETURNING ",
                    ticket_columns!()
                );
                let query = sqlx::query_as(sql).bind(id).bind(change.priority).bind($now);
                let row = query.fetch_optional(&self.write).await;
                let row: Option<Ticket<$moment>> = row.map_err(refused)?;
                answer(&row.ok_or_else(|| Status::not_found("no such ticket"))?)
            }
        }
    };
}

tickets!(
    OnSqlite,
    SqlitePool,
    String,
    text(now()),
    "annual_value / 100.0"
);
tickets!(OnPostgres, PgPool, Moment, now(), "annual_value::float8");

/// Serves until the process is told to end.
pub(crate) async fn run(listen: &str, database: &str) -> anyhow::Result<()> {
    let listen: SocketAddr = listen.parse()?;
    if database.starts_with("postgres:") {
        let options = PgConnectOptions::from_str(database)?.options([("search_path", "data")]);
        let pool = PgPoolOptions::new().max_connections(POSTGRES_CONNECTIONS);
        let pool = pool.connect_with(options).await?;
        let tickets = OnPostgres {
            read: pool.clone(),
            write: pool,
        };
        Server::builder()
            .add_service(TicketsServer::new(tickets))
            .serve(listen)
            .await?;
        return Ok(());
    }
    // As data-svc opens its file: a write that is acknowledged is synced.
    let options = SqliteConnectOptions::from_str(database)?
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("mmap_size", "268435456");
    let pool = |size| SqlitePoolOptions::new().max_connections(size);
    let write = pool(1).connect_with(options.clone()).await?;
    let read = pool(SQLITE_READERS)
        .connect_with(options.read_only(true))
        .await?;
    let tickets = OnSqlite { read, write };
    Server::builder()
        .add_service(TicketsServer::new(tickets))
        .serve(listen)
        .await?;
    Ok(())
}

fn customers<M>(items: &[Ticket<M>]) -> Vec<String> {
    let mut ids: Vec<String> = items
        .iter()
        .filter_map(|ticket| match &ticket.customer {
            Reference::Id(id) => Some(id.clone()),
            Reference::Record(_) => None,
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn expand<M: Serialize>(items: &mut [Ticket<M>], found: Vec<Customer<M>>) -> Result<(), Status> {
    let mut records = HashMap::new();
    for customer in found {
        let record = serde_json::value::to_raw_value(&customer).map_err(refused)?;
        records.insert(customer.id, record);
    }
    for ticket in items {
        if let Reference::Id(id) = &ticket.customer
            && let Some(record) = records.get(id)
        {
            ticket.customer = Reference::Record(record.clone());
        }
    }
    Ok(())
}

fn answer(value: &impl Serialize) -> Result<Response<Answer>, Status> {
    let json = serde_json::to_vec(value).map_err(refused)?.into();
    Ok(Response::new(Answer { json }))
}

fn body<'b, T: Deserialize<'b>>(json: &'b [u8]) -> Result<T, Status> {
    serde_json::from_slice(json).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn refused(error: impl std::error::Error) -> Status {
    Status::internal(error.to_string())
}
