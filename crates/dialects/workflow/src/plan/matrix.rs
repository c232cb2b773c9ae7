//! `strategy.matrix`: the product of its vectors, what `exclude` takes away
//! and what `include` adds, as GitHub computes it.

use fleetfoot_expr::{Object, Value};

/// The most jobs that a matrix may give.
pub(crate) const MAX_LEGS: usize = 256;
/// The largest product before `exclude`, so that a document cannot ask for endless work.
const MAX_PRODUCT: usize = 10_000;
/// The longest `include` or `exclude`.
const MAX_FILTERS: usize = 1_000;

/// One combination.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leg {
    /// The `matrix` context.
    pub(crate) values: Object,
    /// What the name of the job shows of it.
    pub(crate) segments: Vec<String>,
}

/// Why there is no matrix.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) message: String,
    /// The key of the matrix that is to blame.
    pub(crate) key: Option<String>,
}

fn problem<T>(key: Option<&str>, message: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { message: message.into(), key: key.map(str::to_owned) })
}

/// All combinations, in order.
pub(crate) fn expand(matrix: &Value) -> Result<Vec<Leg>, Problem> {
    let Some(matrix) = matrix.as_object() else { return problem(None, "The matrix is not a mapping") };
    let mut vectors: Vec<(&str, &[Value])> = Vec::new();
    let mut product: usize = 1;
    for (key, value) in matrix.iter().filter(|(key, _)| !matches!(*key, "include" | "exclude")) {
        let Some(values) = value.as_array() else {
            return problem(Some(key), format!("Matrix vector '{key}' is not a list"));
        };
        if values.is_empty() {
            return problem(Some(key), format!("Matrix vector '{key}' does not contain any values"));
        }
        product = product.saturating_mul(values.len());
        vectors.push((key, values));
    }
    let mut include = Include::read(matrix, &vectors)?;
    let exclude = read_exclude(matrix, &vectors)?;
    if vectors.is_empty() && include.filters.is_empty() {
        return problem(None, "Matrix must define at least one vector");
    }
    if product > MAX_PRODUCT {
        return problem(
            None,
            format!("The matrix has {product} combinations, more than the limit of {MAX_LEGS} jobs"),
        );
    }
    let mut legs = Vec::new();
    for index in 0..if vectors.is_empty() { 0 } else { product } {
        let values = combination(&vectors, product, index);
        if exclude.iter().any(|filter| matches(filter, &values)) {
            continue;
        }
        let segments = segments(&values);
        let values = include.extend(values);
        push(&mut legs, Leg { values, segments })?;
    }
    for values in include.unmatched() {
        let segments = segments(&values);
        push(&mut legs, Leg { values, segments })?;
    }
    Ok(legs)
}

fn push(legs: &mut Vec<Leg>, leg: Leg) -> Result<(), Problem> {
    if legs.len() == MAX_LEGS {
        return problem(None, format!("The matrix has more than the limit of {MAX_LEGS} jobs"));
    }
    legs.push(leg);
    Ok(())
}

/// The first vector changes slowest.
fn combination(vectors: &[(&str, &[Value])], product: usize, index: usize) -> Object {
    let mut block = product;
    let mut values = Object::with_capacity(vectors.len());
    for (key, vector) in vectors {
        block /= vector.len();
        values.insert(*key, vector[(index / block) % vector.len()].clone());
    }
    values
}

fn list<'m>(matrix: &'m Object, key: &str) -> Result<&'m [Value], Problem> {
    let Some(value) = matrix.get(key) else { return Ok(&[]) };
    let Some(items) = value.as_array() else {
        return problem(Some(key), format!("Matrix {key} is not a list"));
    };
    if items.len() > MAX_FILTERS {
        return problem(Some(key), format!("Matrix {key} has more than {MAX_FILTERS} entries"));
    }
    Ok(items)
}

fn read_exclude(matrix: &Object, vectors: &[(&str, &[Value])]) -> Result<Vec<Object>, Problem> {
    let mut filters = Vec::new();
    for item in list(matrix, "exclude")? {
        let Some(filter) = item.as_object().filter(|o| !o.is_empty()) else {
            return problem(Some("exclude"), "Matrix exclude filter must not be empty");
        };
        if let Some(key) = filter.keys().find(|key| !is_vector(vectors, key)) {
            let message = format!("Matrix exclude key '{key}' does not match any key within the matrix");
            return problem(Some("exclude"), message);
        }
        filters.push(filter.clone());
    }
    Ok(filters)
}

fn is_vector(vectors: &[(&str, &[Value])], key: &str) -> bool {
    vectors.iter().any(|(name, _)| name.eq_ignore_ascii_case(key))
}

struct Include {
    /// What a combination must have, and what it then gets.
    filters: Vec<(Object, Object)>,
    matched: Vec<bool>,
}

impl Include {
    fn read(matrix: &Object, vectors: &[(&str, &[Value])]) -> Result<Self, Problem> {
        let mut filters = Vec::new();
        for item in list(matrix, "include")? {
            let Some(item) = item.as_object().filter(|o| !o.is_empty()) else {
                return problem(Some("include"), "Matrix include mapping does not contain any values");
            };
            let (mut filter, mut extra) = (Object::new(), Object::new());
            for (key, value) in item.iter() {
                let part = if is_vector(vectors, key) { &mut filter } else { &mut extra };
                part.insert(key, value.clone());
            }
            filters.push((filter, extra));
        }
        Ok(Self { matched: vec![false; filters.len()], filters })
    }

    /// Adds the values of every entry that overwrites no original one.
    fn extend(&mut self, values: Object) -> Object {
        let mut extended = values.clone();
        for ((filter, extra), matched) in self.filters.iter().zip(&mut self.matched) {
            if matches(filter, &values) {
                *matched = true;
                extended.extend(extra.iter().map(|(key, value)| (key, value.clone())));
            }
        }
        extended
    }

    fn unmatched(self) -> impl Iterator<Item = Object> {
        self.filters.into_iter().zip(self.matched).filter(|(_, matched)| !matched).map(
            |((mut filter, extra), _)| {
                filter.extend(extra.iter().map(|(key, value)| (key, value.clone())));
                filter
            },
        )
    }
}

/// Whether every scalar of the filter equals, loosely, what stands in its place.
fn matches(filter: &Object, values: &Object) -> bool {
    filter.iter().all(|(key, wanted)| leaf_matches(wanted, values.get(key)))
}

fn leaf_matches(wanted: &Value, found: Option<&Value>) -> bool {
    match wanted {
        Value::Object(wanted) => {
            wanted.iter().all(|(key, wanted)| leaf_matches(wanted, found.and_then(|f| f.get(key))))
        }
        Value::Array(items) => items.iter().enumerate().all(|(i, wanted)| {
            leaf_matches(wanted, found.and_then(Value::as_array).and_then(|found| found.get(i)))
        }),
        scalar => scalar.loosely_equals(found.unwrap_or(&Value::Null)),
    }
}

/// The scalars of a combination as text, those within lists and mappings too.
fn segments(values: &Object) -> Vec<String> {
    let mut all = Vec::new();
    values.values().for_each(|value| collect(value, &mut all));
    all
}

fn collect(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| collect(item, all)),
        Value::Object(object) => object.values().for_each(|item| collect(item, all)),
        scalar => all.extend(Some(scalar.to_display_string()).filter(|text| !text.is_empty())),
    }
}

/// `name (a, b)`, at most 100 characters.
pub(crate) fn display_name(name: &str, segments: &[String]) -> String {
    let full =
        if segments.is_empty() { name.to_owned() } else { format!("{name} ({})", segments.join(", ")) };
    if full.chars().count() > 100 {
        return full.chars().take(97).chain("...".chars()).collect();
    }
    full
}
