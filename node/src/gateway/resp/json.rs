//! Reads what a namespace wants to know out of JSON values that applications store as they please.
//!
//! A path is names with dots between (`passport.user`); a number steps into an array.

use serde_json::Value;
use sojourn_core::{Owner, policy::Policy};

/// How many top-level keys are named when a value is too large.
pub const LARGEST_COUNT: usize = 5;

/// Whose session a value says it is; nobody's where it does not say.
pub fn owner(policy: &Policy, document: &Value) -> Owner {
    let user = match policy.user_path.as_str() {
        "" => None,
        path => at(document, path).and_then(text),
    };
    let labels = policy.label_paths.iter();
    let labels =
        labels.filter_map(|(label, path)| Some((label.as_bytes().into(), text(at(document, path)?)?))).collect();
    Owner { user: user.unwrap_or_default(), revocation_epoch: 0, labels }
}

/// Takes the values at `paths` out; returns whether there were any.
pub fn redact(document: &mut Value, paths: &[String]) -> bool {
    let mut any = false;
    for path in paths {
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        let holder = match parent {
            "" => Some(&mut *document),
            parent => at_mut(document, parent),
        };
        any |= holder.and_then(Value::as_object_mut).and_then(|map| map.remove(name)).is_some();
    }
    any
}

/// The largest top-level keys and the bytes of each with its value, largest first.
pub fn largest(document: &Value) -> Vec<(Box<[u8]>, u64)> {
    let Some(map) = document.as_object() else { return Vec::new() };
    let size = |(name, value): (&String, &Value)| {
        let bytes = name.len() + serde_json::to_vec(value).map_or(0, |text| text.len());
        (name.as_bytes().into(), bytes as u64)
    };
    top(map.iter().map(size).collect())
}

/// The [`LARGEST_COUNT`] largest.
pub fn top(mut sizes: Vec<(Box<[u8]>, u64)>) -> Vec<(Box<[u8]>, u64)> {
    sizes.sort_by(|(a_name, a), (b_name, b)| b.cmp(a).then_with(|| a_name.cmp(b_name)));
    sizes.truncate(LARGEST_COUNT);
    sizes
}

fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, step| match value {
        Value::Object(map) => map.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn at_mut<'a>(document: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').try_fold(document, |value, step| match value {
        Value::Object(map) => map.get_mut(step),
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

/// Strings as they are, numbers and booleans as JSON writes them; nothing else names a user or is a label.
fn text(value: &Value) -> Option<Box<[u8]>> {
    match value {
        Value::String(text) => Some(text.as_bytes().into()),
        Value::Number(number) => Some(number.to_string().into_bytes().into()),
        Value::Bool(flag) => Some(flag.to_string().into_bytes().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy() -> Policy {
        let label_paths = [("role".to_owned(), "user.roles.0".to_owned()), ("paid".to_owned(), "paid".to_owned())];
        Policy { user_path: "passport.user".to_owned(), label_paths: label_paths.into(), ..Policy::default() }
    }

    #[test]
    fn user_and_labels_are_found_by_path() {
        let document = json!({"passport": {"user": 7}, "user": {"roles": ["admin", "dev"]}, "paid": true});
        let owner = owner(&policy(), &document);
        assert_eq!(&*owner.user, b"7");
        let labels: Vec<_> = owner.labels.iter().map(|(label, value)| (&**label, &**value)).collect();
        assert_eq!(labels, [(b"paid".as_slice(), b"true".as_slice()), (b"role", b"admin")]);
    }

    #[test]
    fn a_value_that_says_nothing_is_nobodys() {
        for document in [json!({}), json!({"passport": {"user": {"id": 7}}}), json!([1, 2]), json!("text")] {
            assert_eq!(owner(&policy(), &document), Owner::default());
        }
    }

    #[test]
    fn redaction_takes_out_what_is_named() {
        let mut document = json!({"password": "p", "card": {"number": 1, "kind": "x"}, "list": [{"cvc": 1}]});
        let paths = ["password", "card.number", "list.0.cvc", "not.there"].map(str::to_owned);
        assert!(redact(&mut document, &paths));
        assert_eq!(document, json!({"card": {"kind": "x"}, "list": [{}]}));
        assert!(!redact(&mut document, &paths));
    }

    #[test]
    fn the_largest_keys_come_first() {
        let document = json!({"a": "1", "cart": "x".repeat(100), "b": [1, 2, 3], "c": 1, "d": 1, "e": 1});
        let names: Vec<_> = largest(&document);
        assert_eq!(names[0], (b"cart".as_slice().into(), 106));
        assert_eq!(names[1], (b"b".as_slice().into(), 8));
        assert_eq!(names.len(), LARGEST_COUNT);
    }
}
