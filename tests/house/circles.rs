//! No files import each other, neither directly nor by way of others. A module and what is below it may.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::Import;

type Module = Vec<String>;

/// Each circle, as one way around it.
pub(crate) fn circles(imports: &[Import]) -> Vec<String> {
    let mut graph: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for import in imports {
        graph.entry(&import.from).or_default().insert(&import.to);
    }
    let mut told: BTreeSet<&Module> = BTreeSet::new();
    let mut found = Vec::new();
    for start in graph.keys() {
        if told.contains(start) {
            continue;
        }
        if let Some(circle) = way_back(&graph, start) {
            let names: Vec<String> = circle.iter().chain([start]).map(|module| module.join("::")).collect();
            found.push(names.join(" -> "));
            told.extend(circle);
        }
    }
    found
}

/// The shortest way from a module over others back to itself.
fn way_back<'a>(graph: &BTreeMap<&'a Module, BTreeSet<&'a Module>>, start: &'a Module) -> Option<Vec<&'a Module>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| graph.get(last)).into_iter().flatten().copied() {
                if next == start {
                    return Some(way);
                }
                if seen.insert(next) {
                    longer.push([way.as_slice(), &[next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::imports;
    use crate::source::Source;
    use crate::tree::sources;
    use crate::{assert_none, crates};

    #[test]
    fn files_that_import_each_other_over_a_third_are_named_once() {
        let sources = [
            Source::parse("src/a.rs", "use crate::b::B;"),
            Source::parse("src/b.rs", "fn f() { crate::c::d() }"),
            Source::parse("src/c.rs", "use super::a::A;"),
            Source::parse("src/e.rs", "use super::a::A;"),
        ];
        assert_eq!(circles(&imports("src", &sources)), ["a -> b -> c -> a"]);
    }

    #[test]
    fn a_module_and_its_child_may_import_each_other() {
        let sources = [
            Source::parse("src/a/mod.rs", "mod b; use self::b::B;"),
            Source::parse("src/a/b.rs", "use super::A; use crate::a::A2;"),
        ];
        assert_eq!(circles(&imports("src", &sources)), Vec::<String>::new());
    }

    #[test]
    fn no_files_of_a_crate_import_each_other() {
        let found: Vec<String> = crates::roots()
            .iter()
            .flat_map(|root| {
                let circles = circles(&imports(root, sources()));
                circles.into_iter().map(move |circle| format!("{root}: {circle}"))
            })
            .collect();
        assert_none("circles", &found);
    }
}
