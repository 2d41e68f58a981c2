//! What hangs on what by foreign keys: which tables move with a root, in which order, and which references keep a root
//! where it is. Pure functions over the keys that [`super::catalogue`] has read.

use std::collections::BTreeMap;

use sqlx::postgres::types::Oid;

use crate::pg::statement::{Ident, Qualified};

/// What a foreign key does when the row that it refers to is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDelete {
    /// The deletion fails, at the end of the statement or of the transaction.
    NoAction,
    /// The deletion fails.
    Restrict,
    /// The referring row is deleted, too.
    Cascade,
    /// The reference becomes null.
    SetNull,
    /// The reference becomes its default.
    SetDefault,
}

impl OnDelete {
    /// From the letter in `pg_constraint.confdeltype`.
    pub fn from_code(code: &str) -> Self {
        match code {
            "r" => Self::Restrict,
            "c" => Self::Cascade,
            "n" => Self::SetNull,
            "d" => Self::SetDefault,
            _ => Self::NoAction,
        }
    }

    /// Whether the referring row is meant to outlive the one that it refers to.
    pub const fn outlives(self) -> bool {
        matches!(self, Self::SetNull | Self::SetDefault)
    }
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// The number of the table that refers.
    pub child: Oid,
    /// That table.
    pub child_table: Qualified,
    /// Its columns that refer.
    pub child_columns: Vec<Ident>,
    /// The number of the table that is referred to.
    pub parent: Oid,
    /// That table.
    pub parent_table: Qualified,
    /// Its columns that are referred to, in the same order.
    pub parent_columns: Vec<Ident>,
    /// Their types as SQL.
    pub parent_types: Vec<String>,
    /// What it does when the row that it refers to is deleted.
    pub on_delete: OnDelete,
}

/// A table that moves with a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number in the catalogue.
    pub oid: Oid,
    /// The table.
    pub table: Qualified,
    /// The keys that lead to it from the root, the first one referring to the root; none for the root itself.
    pub path: Vec<ForeignKey>,
}

/// A reference to a row that would move, by a row that need not move with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// The key.
    pub key: ForeignKey,
    /// The path of the member that it refers to.
    pub path: Vec<ForeignKey>,
    /// The path of the referring table, where that is a member itself: rows of the same root move together.
    pub own_path: Option<Vec<ForeignKey>>,
}

/// What moves with a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The tables, children before what they refer to; the root is the last.
    pub members: Vec<Member>,
    /// The references that keep a root where it is.
    pub outside: Vec<Outside>,
}

/// Tables that refer to each other in a circle: none of them can be emptied first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} refer to each other in a circle, so none of them can go first; nothing was touched; name the one that must not \
     move in `stay`, or archive another table",
    tables.iter().map(Qualified::plain).collect::<Vec<_>>().join(", ")
)]
pub struct Circle {
    /// The tables.
    pub tables: Vec<Qualified>,
}

/// Finds what moves with a root: every table that refers to it, directly or through others.
///
/// A table that `stays` says must stay, and a reference whose row is meant to outlive what it refers to (ON DELETE SET
/// NULL, SET DEFAULT), do not make a member: they keep the root where it is. So does a second way to a table that is a
/// member already, for rows that belong to another root.
///
/// # Errors
/// [`Circle`].
pub fn tree(root: (Oid, &Qualified), keys: &[ForeignKey], stays: &dyn Fn(&Qualified) -> bool) -> Result<Tree, Circle> {
    let mut members = vec![Member { oid: root.0, table: root.1.clone(), path: Vec::new() }];
    let mut outside: Vec<(ForeignKey, Vec<ForeignKey>)> = Vec::new();
    let mut next = 0;
    while let Some(parent) = members.get(next).cloned() {
        next += 1;
        for key in keys.iter().filter(|key| key.parent == parent.oid) {
            let known = members.iter().any(|member| member.oid == key.child);
            if known || key.on_delete.outlives() || stays(&key.child_table) {
                outside.push((key.clone(), parent.path.clone()));
                continue;
            }
            let path = parent.path.iter().chain([key]).cloned().collect();
            members.push(Member { oid: key.child, table: key.child_table.clone(), path });
        }
    }
    let own = |child: Oid| members.iter().find(|member| member.oid == child).map(|member| member.path.clone());
    let outside = outside.into_iter().map(|(key, path)| Outside { own_path: own(key.child), key, path }).collect();
    let members = children_first(members, keys)?;
    Ok(Tree { members, outside })
}

/// Puts tables in an order in which each comes before those that it refers to.
fn children_first(members: Vec<Member>, keys: &[ForeignKey]) -> Result<Vec<Member>, Circle> {
    let mut left = members;
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let is_referred_to = |member: &Member| {
            let refers = |key: &ForeignKey| key.parent == member.oid && key.child != member.oid;
            keys.iter().any(|key| refers(key) && left.iter().any(|other| other.oid == key.child))
        };
        // The latest found first, so that the root, which was found first, is the last.
        match left.iter().rposition(|member| !is_referred_to(member)) {
            Some(free) => ordered.push(left.remove(free)),
            None => return Err(Circle { tables: circle(&left, keys) }),
        }
    }
    Ok(ordered)
}

/// One circle among tables of which each is referred to by another.
fn circle(left: &[Member], keys: &[ForeignKey]) -> Vec<Qualified> {
    let among = |oid: Oid| left.iter().any(|member| member.oid == oid);
    let mut way: Vec<&ForeignKey> = Vec::new();
    let mut at = left.first().map(|member| member.oid);
    while let Some(oid) = at {
        if let Some(start) = way.iter().position(|key| key.parent == oid) {
            return way[start..].iter().map(|key| key.parent_table.clone()).collect();
        }
        let step = keys.iter().find(|key| key.parent == oid && key.child != oid && among(key.child));
        way.extend(step);
        at = step.map(|key| key.child);
    }
    left.iter().map(|member| member.table.clone()).collect()
}

/// References to moving tables by tables that do not move and that nobody looks after; each as the key that refers.
pub fn uncovered<'a>(
    moving: &[Oid],
    keys: &'a [ForeignKey],
    guarded: &dyn Fn(&ForeignKey) -> bool,
) -> Vec<&'a ForeignKey> {
    keys.iter().filter(|key| moving.contains(&key.parent) && !moving.contains(&key.child) && !guarded(key)).collect()
}

/// Keys by which a table that is emptied earlier is referred to by one that is emptied later.
pub fn out_of_order<'a>(order: &[Oid], keys: &'a [ForeignKey]) -> Vec<&'a ForeignKey> {
    let place: BTreeMap<u32, usize> = order.iter().enumerate().map(|(place, oid)| (oid.0, place)).collect();
    let late = |key: &&ForeignKey| match (place.get(&key.child.0), place.get(&key.parent.0)) {
        (Some(child), Some(parent)) => child > parent,
        _ => false,
    };
    keys.iter().filter(late).collect()
}

/// Columns of two rows that are equal, one by one, as SQL.
pub fn equal(left: (&str, &[Ident]), right: (&str, &[Ident])) -> String {
    let pairs = left.1.iter().zip(right.1);
    pairs.map(|(l, r)| format!("{}.{l} = {}.{r}", left.0, right.0)).collect::<Vec<_>>().join(" AND ")
}

/// The condition over `r` that a reference from outside keeps it: something refers to one of its rows and belongs to
/// another root, or to none.
pub fn refers_from_outside(outside: &Outside) -> String {
    let Outside { key, path, own_path } = outside;
    let mut items: Vec<String> = Vec::new();
    let mut conditions: Vec<String> = Vec::new();
    let last = descend(path, "a", &mut items, &mut conditions);
    items.push(format!("{} c", key.child_table));
    conditions.push(equal(("c", &key.child_columns), (&last, &key.parent_columns)));
    if let Some(own) = own_path {
        conditions.push(format!("({}) IS NOT TRUE", belongs(own)));
    }
    format!("EXISTS (SELECT FROM {} WHERE {})", items.join(", "), conditions.join(" AND "))
}

/// The condition that a row `c` of a member hangs on the root `r`.
fn belongs(path: &[ForeignKey]) -> String {
    let Some((last, before)) = path.split_last() else { return "c.ctid = r.ctid".to_owned() };
    let (mut items, mut conditions) = (Vec::new(), Vec::new());
    let parent = descend(before, "b", &mut items, &mut conditions);
    conditions.push(equal(("c", &last.child_columns), (&parent, &last.parent_columns)));
    if items.is_empty() {
        return conditions.join(" AND ");
    }
    format!("EXISTS (SELECT FROM {} WHERE {})", items.join(", "), conditions.join(" AND "))
}

/// Walks down from `r`, naming the tables `a1`, `a2`, ..; gives back the name of the last.
fn descend(path: &[ForeignKey], letter: &str, items: &mut Vec<String>, conditions: &mut Vec<String>) -> String {
    let mut above = "r".to_owned();
    for (depth, key) in path.iter().enumerate() {
        let alias = format!("{letter}{}", depth + 1);
        items.push(format!("{} {alias}", key.child_table));
        conditions.push(equal((&alias, &key.child_columns), (&above, &key.parent_columns)));
        above = alias;
    }
    above
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(name: &str) -> Oid {
        Oid(u32::from(name.as_bytes()[0]))
    }

    /// `child.column > parent.column [action]`; tables are single letters.
    fn keys(text: &str) -> Vec<ForeignKey> {
        let key = |line: &str| {
            let mut words = line.split_whitespace();
            let mut side = || words.next().and_then(|word| word.trim_matches('>').split_once('.')).expect("a side");
            let ((child, from), (parent, to)) = (side(), side());
            let columns = |text: &str| text.split('+').map(|name| Ident(name.to_owned())).collect::<Vec<_>>();
            ForeignKey {
                name: format!("{child}_{parent}"),
                child: oid(child),
                child_table: Qualified::new("s", child),
                child_columns: columns(from),
                parent: oid(parent),
                parent_table: Qualified::new("s", parent),
                parent_types: columns(to).iter().map(|_| "integer".to_owned()).collect(),
                parent_columns: columns(to),
                on_delete: OnDelete::from_code(words.next().unwrap_or("a")),
            }
        };
        text.split(';').map(key).collect()
    }

    fn grown(text: &str, stay: &str) -> Result<Tree, Circle> {
        tree((oid("r"), &Qualified::new("s", "r")), &keys(text), &|table| table.name.0 == stay)
    }

    #[test]
    fn children_come_before_what_they_refer_to_and_the_root_is_the_last() {
        let check = |text: &str, stay: &str, members: &str, outside: &str| {
            let tree = grown(text, stay).expect("no circle");
            let names: Vec<String> = tree
                .members
                .iter()
                .map(|member| {
                    let path: String = member.path.iter().map(|key| key.parent_table.name.0.as_str()).collect();
                    format!("{}{}", path, member.table.name.0)
                })
                .collect();
            assert_eq!(names.join(" "), members, "{text}");
            let names: Vec<&str> = tree.outside.iter().map(|outside| outside.key.name.as_str()).collect();
            assert_eq!(names.join(" "), outside, "{text}");
        };
        check("a.r >r.id c", "", "ra r", "");
        check("a.r >r.id; b.a >a.id; c.b >b.id", "", "rabc rab ra r", "");
        check("a.r >r.id; b.r >r.id; b.a >a.id", "", "rb ra r", "b_a");
        check("a.r >r.id n; b.a >a.id", "", "r", "a_r");
        check("a.r >r.id d", "", "r", "a_r");
        check("a.r >r.id; b.a >a.id", "b", "ra r", "b_a");
        check("r.up >r.id; a.r >r.id; a.up >a.id", "", "ra r", "r_r a_a");
        check("x.r >y.id", "", "r", "");
        check("a.x+y >r.p+q r", "", "ra r", "");
    }

    #[test]
    fn a_circle_is_refused_and_named() {
        let check = |text: &str, expected: &str| {
            let error = grown(text, "").expect_err("a circle").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("a.r >r.id; r.a >a.id n", "s.r, s.a refer to each other in a circle");
        check("a.r >r.id; b.a >a.id; c.b >b.id; a.c >c.id", "s.a, s.b, s.c refer to each other");
        assert!(grown("a.r >r.id; b.a >a.id; a.b >b.id", "b").is_ok(), "without one of them it is no circle");
    }

    #[test]
    fn a_reference_from_outside_is_looked_for_along_the_path() {
        let check = |text: &str, stay: &str, expected: &[&str]| {
            let tree = grown(text, stay).expect("no circle");
            let conditions: Vec<String> = tree.outside.iter().map(refers_from_outside).collect();
            assert_eq!(conditions, expected, "{text}");
        };
        check("a.x+y >r.p+q n", "", &[r#"EXISTS (SELECT FROM "s"."a" c WHERE c."x" = r."p" AND c."y" = r."q")"#]);
        check(
            "a.r >r.id; b.a >a.id",
            "b",
            &[r#"EXISTS (SELECT FROM "s"."a" a1, "s"."b" c WHERE a1."r" = r."id" AND c."a" = a1."id")"#],
        );
        check(
            "r.up >r.id",
            "",
            &[r#"EXISTS (SELECT FROM "s"."r" c WHERE c."up" = r."id" AND (c.ctid = r.ctid) IS NOT TRUE)"#],
        );
        check(
            "a.r >r.id; a.up >a.id",
            "",
            &[
                r#"EXISTS (SELECT FROM "s"."a" a1, "s"."a" c WHERE a1."r" = r."id" AND c."up" = a1."id" AND (c."r" = r."id") IS NOT TRUE)"#,
            ],
        );
        check(
            "a.r >r.id; b.a >a.id; b.up >b.id",
            "",
            &[
                r#"EXISTS (SELECT FROM "s"."a" a1, "s"."b" a2, "s"."b" c WHERE a1."r" = r."id" AND a2."a" = a1."id" AND c."up" = a2."id" AND (EXISTS (SELECT FROM "s"."a" b1 WHERE b1."r" = r."id" AND c."a" = b1."id")) IS NOT TRUE)"#,
            ],
        );
    }

    #[test]
    fn references_that_nobody_looks_after_and_a_wrong_order_are_found() {
        let all = keys("a.r >r.id; b.r >r.id n; c.a >a.id");
        let names = |found: Vec<&ForeignKey>| found.iter().map(|key| key.name.clone()).collect::<Vec<_>>().join(" ");
        let moving = ["a", "r"].map(oid);
        assert_eq!(names(uncovered(&moving, &all, &|_| false)), "b_r c_a");
        assert_eq!(names(uncovered(&moving, &all, &|key| key.name == "b_r")), "c_a");
        assert_eq!(names(out_of_order(&["a", "r"].map(oid), &all)), "");
        assert_eq!(names(out_of_order(&["r", "a"].map(oid), &all)), "a_r");
        // A table that refers to itself is emptied in one statement.
        assert_eq!(names(out_of_order(&["r"].map(oid), &keys("r.up >r.id"))), "");
    }
}
