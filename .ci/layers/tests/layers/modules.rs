//! The modules of a package: a file each, with the names that it defines or imports.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Item, UseTree, Visibility};

/// The path of a module below the root of its package, such as `["recording", "table"]`.
pub(crate) type ModulePath = Vec<String>;

/// A file of source, and what it declares.
pub(crate) struct Module {
    /// The file, from the root of the repository.
    pub(crate) file: PathBuf,
    /// Its items that are not tests.
    pub(crate) items: Vec<Item>,
    /// The names of the items that it defines.
    pub(crate) defined: Vec<String>,
    /// The names that its `use` items bring in, and the paths that these stand for.
    pub(crate) imported: HashMap<String, Vec<String>>,
    /// The paths behind its `use path::*`.
    pub(crate) globs: Vec<Vec<String>>,
}

/// The modules of a package by their path.
pub(crate) struct Package {
    pub(crate) modules: BTreeMap<ModulePath, Module>,
}

impl Package {
    /// Reads all files below the root file of a package.
    pub(crate) fn read(root_file: &Path) -> Self {
        let mut package = Self { modules: BTreeMap::new() };
        package.add(Vec::new(), root_file, root_file.parent().unwrap());
        package
    }

    /// Adds the module of a file, and those that it declares; their files are in `directory`.
    fn add(&mut self, path: ModulePath, file: &Path, directory: &Path) {
        let text = fs::read_to_string(file).unwrap();
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let items: Vec<Item> =
            parsed.items.into_iter().filter(|item| !is_test(attributes(item))).collect();
        let mut module = Module {
            file: file.to_owned(),
            defined: items.iter().filter_map(name_of).collect(),
            imported: HashMap::new(),
            globs: Vec::new(),
            items: Vec::new(),
        };
        for item in &items {
            if let Item::Use(item) = item {
                for (name, target) in leaves(&item.tree) {
                    match name {
                        Some(name) => drop(module.imported.insert(name, target)),
                        None => module.globs.push(target),
                    }
                }
            }
            if let Item::Mod(item) = item
                && item.content.is_none()
            {
                let name = item.ident.to_string();
                let child: ModulePath = path.iter().cloned().chain([name.clone()]).collect();
                let below = directory.join(&name);
                let file = [directory.join(format!("{name}.rs")), below.join("mod.rs")]
                    .into_iter()
                    .find(|file| file.exists())
                    .unwrap_or_else(|| panic!("{file:?} declares `{name}`, which has no file"));
                self.add(child, &file, &below);
            }
        }
        module.items = items;
        self.modules.insert(path, module);
    }

    /// Returns the module in which the item of a path is defined, as it stands in the module `from`;
    /// `None` where it is of another package.
    pub(crate) fn definition(&self, from: &ModulePath, path: &[String]) -> Option<ModulePath> {
        self.follow(from, path, 0)
    }

    fn follow(&self, from: &ModulePath, path: &[String], depth: usize) -> Option<ModulePath> {
        // A name that is imported in a circle is of no package.
        if depth > 16 {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            _ => return self.below(from, path, depth),
        };
        if rest.is_empty() { Some(start) } else { self.below(&start, rest, depth) }
    }

    /// Follows a path whose first part is a name in the module `at`, or `super`.
    fn below(&self, at: &ModulePath, path: &[String], depth: usize) -> Option<ModulePath> {
        let (first, rest) = path.split_first()?;
        if first == "super" {
            return self.follow(at, path, depth + 1);
        }
        let module = self.modules.get(at)?;
        let child: ModulePath = at.iter().cloned().chain([first.clone()]).collect();
        if self.modules.contains_key(&child) {
            return if rest.is_empty() { Some(child) } else { self.below(&child, rest, depth) };
        }
        if module.defined.contains(first) {
            return Some(at.clone());
        }
        if let Some(target) = module.imported.get(first) {
            let whole: Vec<String> = target.iter().chain(rest).cloned().collect();
            return self.follow(at, &whole, depth + 1);
        }
        module.globs.iter().find_map(|glob| {
            let whole: Vec<String> = glob.iter().chain(path).cloned().collect();
            self.follow(at, &whole, depth + 1)
        })
    }
}

/// Returns the names that a `use` brings in, with their paths; no name for `*`.
pub(crate) fn leaves(tree: &UseTree) -> Vec<(Option<String>, Vec<String>)> {
    match tree {
        UseTree::Path(path) => leaves(&path.tree)
            .into_iter()
            .map(|(name, mut target)| {
                target.insert(0, path.ident.to_string());
                // `use a::{self}` names `a`.
                if target.last().is_some_and(|last| last == "self") && target.len() > 1 {
                    target.pop();
                }
                let name =
                    name.map(|name| if name == "self" { path.ident.to_string() } else { name });
                (name, target)
            })
            .collect(),
        UseTree::Name(name) => vec![(Some(name.ident.to_string()), vec![name.ident.to_string()])],
        UseTree::Rename(rename) => {
            vec![(Some(rename.rename.to_string()), vec![rename.ident.to_string()])]
        }
        UseTree::Glob(_) => vec![(None, Vec::new())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// Returns whether an item passes names on to other modules.
pub(crate) fn is_passed_on(visibility: &Visibility) -> bool {
    !matches!(visibility, Visibility::Inherited)
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Mod(item) if item.content.is_some() => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Returns whether an item is only there for tests.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}
