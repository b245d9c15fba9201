//! Edges from text, and the graph they make.
#![expect(clippy::expect_used, reason = "tests")]

use proptest::prelude::*;
use tidemill::graph::csr::Csr;
use tidemill::graph::edge_list::{EdgeList, EdgeListError};
use tidemill::graph::error::GraphError;

fn read(text: &str) -> Result<EdgeList, EdgeListError> {
    EdgeList::read(text.as_bytes(), 10)
}

#[test]
fn tabs_commas_and_spaces_separate_columns() {
    for text in [
        "# made by hand\nsource\ttarget\tweight\na b\tc\t2\n\nc\td\n",
        "\u{feff}% made by hand\r\na b,c,2\r\n\"c\", \"d\" ,1\r\n",
    ] {
        let list = read(text).expect("well formed");
        assert_eq!(list.names, ["a b", "c", "d"]);
        assert_eq!(list.edges, [(0, 1, 2.0), (1, 2, 1.0)]);
    }
    let quoted = read("\"a, \"\"b\"\"\",c").expect("well formed");
    assert_eq!(quoted.names, ["a, \"b\"", "c"]);
    assert_eq!(read("1  2 0.5\n2 1").expect("well formed").edges, [(0, 1, 0.5), (1, 0, 1.0)]);
    assert_eq!(read("").expect("nothing"), EdgeList::default());
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (text, message) in [
        ("a b\na", "line 2: 1 columns between spaces, expected two names and perhaps a weight"),
        ("a\tb\tc\td", "line 1: 4 columns between tabs, expected two names and perhaps a weight"),
        ("a,b\na,", "line 2: column 2 is empty"),
        ("a b 0", "line 1: weight \"0\" is not a finite number above 0"),
        ("a b nan", "line 1: weight \"nan\" is not a finite number above 0"),
        ("\"a,b", "line 1: a quote is not closed"),
    ] {
        assert_eq!(read(text).expect_err(text).to_string(), message);
    }
    let many = "a b\n".repeat(11);
    assert_eq!(read(&many).expect_err("too many").to_string(), "line 11: more than 10 edges");
    let long = "x".repeat(70_000);
    assert_eq!(read(&long).expect_err("too long").to_string(), "line 1: longer than 65536 bytes");
    let latin = EdgeList::read(&b"a b\nc \xe9"[..], 10).expect_err("no utf-8");
    assert_eq!(latin.to_string(), "line 2: not utf-8");
}

#[test]
fn edges_that_cannot_be_are_refused() {
    let unknown = Csr::from_edges(2, &[(0, 1, 1.0), (0, 2, 1.0)], false);
    assert!(matches!(unknown, Err(GraphError::UnknownNode { edge: 1, node: 2, nodes: 2 })), "{unknown:?}");
    for weight in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let refused = Csr::from_edges(2, &[(0, 1, weight)], false);
        assert!(matches!(refused, Err(GraphError::Weight { edge: 0, .. })), "{refused:?}");
    }
}

proptest! {
    #[test]
    fn a_graph_is_the_sum_of_its_edges(
        edges in prop::collection::vec((0_u32..9, 0_u32..9, 1_u8..4), 0..60),
        directed: bool,
    ) {
        let listed: Vec<_> = edges.iter().map(|&(from, to, weight)| (from, to, f32::from(weight))).collect();
        let graph = Csr::from_edges(9, &listed, directed).expect("edges name nodes of the graph");
        let mut arcs = 0;
        for from in 0..9 {
            prop_assert!(graph.neighbours(from).is_sorted_by(|one, two| one < two));
            arcs += graph.degree(from);
            let mut strength = 0.0;
            for to in 0..9 {
                let weight: f32 = listed
                    .iter()
                    .filter(|&&(one, two, _)| (one, two) == (from, to) || (!directed && (two, one) == (from, to)))
                    .map(|edge| edge.2)
                    .sum();
                prop_assert_eq!(graph.weight(from, to), (weight > 0.0).then_some(weight));
                prop_assert_eq!(graph.has_arc(from, to), weight > 0.0);
                strength += weight;
            }
            prop_assert!((graph.strength(from) - strength).abs() < 1e-3);
        }
        prop_assert_eq!(graph.arcs(), arcs);
        let again = Csr::from_edges(9, &graph.edges().collect::<Vec<_>>(), directed).expect("its own edges");
        prop_assert_eq!(again, graph);
    }
}
