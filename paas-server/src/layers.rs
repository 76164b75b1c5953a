//! Imports between the modules of this crate point one way: a circle of modules cannot be read, tested or moved piece by piece.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Which top-level modules each top-level module names, tests apart.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut edges = BTreeMap::new();
    for entry in fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !["lib", "main", "layers"].contains(&name.as_str()) {
            collect(&path, edges.entry(name).or_default());
        }
    }
    for (module, named) in &mut edges {
        named.remove(module);
    }
    edges
}

fn collect(path: &Path, named: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), named);
        }
        return;
    }
    if path.file_stem().is_some_and(|stem| stem == "tests") {
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split("};").next().unwrap_or_default();
                named.extend(list.split(',').map(first_name).filter(|name| !name.is_empty()));
            }
            None => drop(named.insert(first_name(rest))),
        }
    }
}

fn first_name(text: &str) -> String {
    text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_point_one_way() {
    let mut left = edges();
    assert!(left["middleware"].contains("app"), "the imports are not found: {left:?}");
    // What names nothing that is left is at the bottom; what is never at the bottom is part of a circle, or above one.
    loop {
        let bottom: Vec<String> = left
            .iter()
            .filter(|(_, named)| !named.iter().any(|name| left.contains_key(name)))
            .map(|(m, _)| m.clone())
            .collect();
        if bottom.is_empty() {
            break;
        }
        left.retain(|module, _| !bottom.contains(module));
    }
    assert!(left.is_empty(), "a circle of imports: {left:#?}");
}
