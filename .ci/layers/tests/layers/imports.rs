//! What each module takes from which other one.

use std::collections::{BTreeMap, BTreeSet};

use syn::Item;
use syn::visit::{self, Visit};

use crate::modules::{Module, ModulePath, Package, is_passed_on, leaves};

/// The names that one module takes from another, for every pair of modules.
pub(crate) type Imports = BTreeMap<(ModulePath, ModulePath), BTreeSet<String>>;

/// Returns what the modules of a package take from each other. What a module only passes on, by
/// `pub use`, it does not take.
pub(crate) fn imports_of(package: &Package) -> Imports {
    let mut imports = Imports::new();
    for (path, module) in &package.modules {
        for name in paths_in(module) {
            let Some(from) = package.definition(path, &name) else { continue };
            if from != *path {
                let names = imports.entry((path.clone(), from)).or_default();
                names.insert(name.last().cloned().unwrap_or_default());
            }
        }
    }
    imports
}

/// Returns all paths in a module that may lead to another module.
fn paths_in(module: &Module) -> Vec<Vec<String>> {
    let mut paths = Paths(Vec::new());
    for item in &module.items {
        match item {
            Item::Use(item) if is_passed_on(&item.vis) => {}
            Item::Use(item) => {
                paths.0.extend(leaves(&item.tree).into_iter().map(|(_, target)| target));
            }
            item => paths.visit_item(item),
        }
    }
    paths.0
}

/// Collects the paths of more than one part: a single name is defined or imported in the same file.
struct Paths(Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let parts: Vec<String> =
                path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            // `Self::…` and `Type::…` are of names that are there already.
            if parts[0].starts_with(|first: char| first.is_ascii_lowercase()) {
                self.0.push(parts);
            }
        }
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(in crate::daemon)` takes nothing.
    }
}
