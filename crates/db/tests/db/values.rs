//! Values go in and come out the same on both databases.

use db::{ColumnType, DbError, Row, Statement, Value};
use time::macros::{date, datetime, time};

use crate::bed::Bed;

const TYPES: [(&str, ColumnType); 10] = [
    ("a_text", ColumnType::Text),
    ("an_int", ColumnType::Int),
    ("a_double", ColumnType::Double),
    ("a_bool", ColumnType::Bool),
    ("a_decimal", ColumnType::Decimal),
    ("a_date", ColumnType::Date),
    ("a_time", ColumnType::Time),
    ("a_datetime", ColumnType::DateTime),
    ("a_json", ColumnType::Json),
    ("some_bytes", ColumnType::Bytes),
];

/// Reads a row of [`TYPES`] back into the values it was made of.
fn read(row: &Row<'_>) -> Result<Vec<Value>, DbError> {
    assert_eq!(row.len(), TYPES.len());
    Ok(vec![
        Value::Text(row.text(0)?.map(str::to_owned)),
        Value::Int(row.int(1)?),
        Value::Double(row.double(2)?),
        Value::Bool(row.bool(3)?),
        Value::Decimal(row.decimal(4)?),
        Value::Date(row.date(5)?),
        Value::Time(row.time(6)?),
        Value::DateTime(row.datetime(7)?),
        Value::Json(row.json(8)?.map(|json| json.into_owned())),
        Value::Bytes(row.bytes(9)?.map(<[u8]>::to_vec)),
    ])
}

async fn stored(bed: &Bed, values: &[Value]) -> Vec<Value> {
    let dialect = bed.db.dialect();
    let typed = TYPES.map(|(name, kind)| format!("{name} {}", dialect.type_name(kind)));
    let create = format!("CREATE TABLE IF NOT EXISTS v ({})", typed.join(", "));
    bed.db.execute(Statement::new(create).once()).await.unwrap();
    bed.db.execute("DELETE FROM v").await.unwrap();
    let insert = "INSERT INTO v VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    bed.db
        .execute(Statement::with(insert, values.to_vec()))
        .await
        .unwrap();
    let names = TYPES.map(|(name, _)| name).join(", ");
    bed.db
        .query_one(format!("SELECT {names} FROM v"), read)
        .await
        .unwrap()
}

fn decimal(text: &str) -> Value {
    Value::Decimal(Some(text.parse().unwrap()))
}

pub(crate) async fn every_type_comes_back(bed: &Bed) {
    let same = vec![
        Value::from("Grüße, 'quoted' \"$1\" ?"),
        Value::from(i64::MIN),
        Value::from(0.1 + 0.2),
        Value::from(true),
        decimal("-12345678901234567890.1234567"),
        Value::from(date!(0001 - 01 - 01)),
        Value::from(time!(23:59:59.999)),
        Value::from(datetime!(1969-12-31 23:59:59.999 UTC)),
        Value::json(r#"{"a": [1, null, "ü"]}"#.to_owned()),
        Value::from(vec![0_u8, 255, 10]),
    ];
    assert_eq!(stored(bed, &same).await, same);

    let given = vec![
        Value::from(""),
        Value::from(i64::MAX),
        Value::from(-0.0),
        Value::from(false),
        decimal("1.500"),
        Value::from(date!(9999 - 12 - 31)),
        Value::from(time!(1:02:03.000_999)),
        Value::from(datetime!(2024-02-29 23:30:00.123_999_999 -01:00)),
        Value::json("[]".to_owned()),
        Value::from(Vec::<u8>::new()),
    ];
    let mut expected = given.clone();
    expected[4] = decimal("1.5");
    expected[6] = Value::from(time!(1:02:03));
    expected[7] = Value::from(datetime!(2024-03-01 0:30:00.123 UTC));
    assert_eq!(stored(bed, &given).await, expected);
    // Cut where it is stored, not only where it is read.
    let equal = "SELECT count(*) FROM v WHERE a_time = $1 AND a_datetime = $2 AND a_decimal = $3";
    let equal = Statement::with(
        equal,
        vec![
            expected[6].clone(),
            expected[7].clone(),
            expected[4].clone(),
        ],
    );
    assert_eq!(
        bed.db.query_one(equal, |row| row.int(0)).await.unwrap(),
        Some(1)
    );
}

pub(crate) async fn nulls_keep_their_type(bed: &Bed) {
    let nulls = vec![
        Value::Text(None),
        Value::Int(None),
        Value::Double(None),
        Value::Bool(None),
        Value::Decimal(None),
        Value::Date(None),
        Value::Time(None),
        Value::DateTime(None),
        Value::Json(None),
        Value::Bytes(None),
    ];
    assert_eq!(stored(bed, &nulls).await, nulls);
}

pub(crate) async fn json_is_json_whatever_the_column_says(bed: &Bed) {
    bed.batch("CREATE TABLE j (id BIGINT, doc JSONB)").await;
    let texts = [
        "1", "-2.5", "1e3", "true", "null", "\"5\"", "\"\"", "{}", "[1, 2]", "0.1",
    ];
    for (id, text) in (0_i64..).zip(texts) {
        let insert = Statement::new("INSERT INTO j VALUES ($1, $2)");
        let json = Value::json(text.to_owned());
        bed.db.execute(insert.bind(id).bind(json)).await.unwrap();
    }
    let stored = bed
        .db
        .query("SELECT doc FROM j ORDER BY id", |row| {
            Ok(row.req_json(0)?.into_owned())
        })
        .await
        .unwrap();
    for (stored, text) in stored.iter().zip(texts) {
        let read = |text: &str| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            // 1e3 and 1000 are the same number.
            value.as_f64().map_or(value, Into::into)
        };
        assert_eq!(read(stored), read(text), "{text}");
    }
}

pub(crate) async fn numbers_convert_where_nothing_is_lost(bed: &Bed) {
    bed.batch(
        "CREATE TABLE n (i BIGINT, d DOUBLE PRECISION); INSERT INTO n VALUES (2, 0.5), (3, 1)",
    )
    .await;
    let sums = "SELECT sum(i), sum(d), i > 1, count(*) FROM n GROUP BY i > 1";
    let read = |row: &Row<'_>| {
        let halves = row.int(1);
        assert!(
            matches!(halves, Err(DbError::Decode { column: 1, .. })),
            "{halves:?}"
        );
        Ok((
            row.int(0)?,
            row.double(0)?,
            row.decimal(0)?,
            row.double(1)?,
            row.bool(2)?,
            row.int(3)?,
        ))
    };
    let sums = bed.db.query_one(sums, read).await.unwrap();
    let expected = (
        Some(5),
        Some(5.0),
        Some(5.into()),
        Some(1.5),
        Some(true),
        Some(2),
    );
    assert_eq!(sums, expected);
}

pub(crate) async fn what_only_one_database_could_store_is_refused(bed: &Bed) {
    bed.batch("CREATE TABLE d (n DOUBLE PRECISION, t TEXT, at TIMESTAMPTZ)")
        .await;
    let bad: [(&str, Value); 5] = [
        ("INSERT INTO d (n) VALUES ($1)", f64::NAN.into()),
        ("INSERT INTO d (n) VALUES ($1)", f64::INFINITY.into()),
        ("INSERT INTO d (t) VALUES ($1)", "nul\0".into()),
        (
            "INSERT INTO d (at) VALUES ($1)",
            datetime!(-0001-01-01 0:00 UTC).into(),
        ),
        (
            "INSERT INTO d (at) VALUES ($1)",
            datetime!(9999-12-31 23:59 -01:00).into(),
        ),
    ];
    for (sql, value) in bad {
        let refused = bed
            .db
            .execute(Statement::new(sql).bind(value.clone()))
            .await;
        assert!(
            matches!(refused, Err(DbError::Value(_))),
            "{value:?}: {refused:?}"
        );
    }
    assert_eq!(bed.count("d").await, 0);
}

pub(crate) async fn placeholders_go_by_number(bed: &Bed) {
    let sql = "SELECT $2, $1, $2, '$3', $3::text -- $9";
    // SQLite has no `::`, but takes `$3::text` for a name, which is as good.
    let args = Statement::new(sql).bind("one").bind("two").bind("three");
    let row = |row: &Row<'_>| (0..5).map(|i| Ok(row.req_text(i)?.to_owned())).collect();
    let texts: Vec<String> = bed.db.query_one(args, row).await.unwrap();
    assert_eq!(texts, ["two", "one", "two", "$3", "three"]);

    let few = Statement::new("SELECT $1::text, $2::text").bind("one");
    assert!(bed.db.query_one(few, |_| Ok(())).await.is_err());
    // PostgreSQL does not mind a value that nobody asks for.
    let many = Statement::new("SELECT $1::text").bind("one").bind("two");
    let answer = bed.db.query_one(many, |_| Ok(())).await;
    assert_eq!(answer.is_err(), bed.is_sqlite());
}

pub(crate) async fn a_list_fits_one_placeholder(bed: &Bed) {
    bed.batch("CREATE TABLE l (id TEXT); INSERT INTO l VALUES ('a'), ('b\"'), ('c')")
        .await;
    let sql = match bed.is_sqlite() {
        true => "SELECT id FROM l WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id",
        false => "SELECT id FROM l WHERE id = ANY($1) ORDER BY id",
    };
    let found = |ids: &[&str]| {
        let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
        let read = |row: &Row<'_>| Ok(row.req_text(0)?.to_owned());
        bed.db.query(Statement::new(sql).bind(ids), read)
    };
    assert_eq!(found(&["c", "b\"", "x"]).await.unwrap(), ["b\"", "c"]);
    assert!(found(&[]).await.unwrap().is_empty());
}
