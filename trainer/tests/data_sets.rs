//! The shipped data sets, trained as the shipped configuration says: what the README promises of them.

// clippy.toml allows them in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing)]

use std::{collections::BTreeMap, path::Path, sync::Once, time::Instant};

use modelcast_models::{Decoders, RowEncoder};
use modelcast_protocol::{golden::Column, schema::FeatureKind};
use trainer::{
    configuration::Configuration,
    fit::FitError,
    package::{Origin, Package, pack},
    prepare::{Prepared, prepare},
    recipe::{FeaturePlan, Recipe},
    score::{predict, score},
    train::{TrainError, Trained, train},
};

const CONFIG: &str = "config/trainer.toml";

/// The shipped recipe; paths in it are relative to the workspace.
fn recipe(dataset: &str) -> Recipe {
    static WORKSPACE: Once = Once::new();
    WORKSPACE.call_once(|| std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap());
    let path = Path::new(CONFIG);
    Configuration::load(path).unwrap().recipe(path, dataset).unwrap().clone()
}

fn trained(recipe: &Recipe, until: Option<&str>) -> (Prepared, Trained, Package) {
    let start = Instant::now();
    let prepared = prepare(recipe, until).unwrap();
    let trained = train(recipe, &prepared).unwrap();
    let origin = Origin {
        train_rows: prepared.train.len(),
        parameters: BTreeMap::new(),
        quality: Some(trained.fit.quality),
        code_revision: "test".into(),
        at_unix_ms: 1,
    };
    let package = pack(recipe, &prepared, &trained.model, &origin).unwrap();
    println!(
        "{} until {until:?}: {} rows, {:?}, {:?}, {} bytes, {:.1} s",
        recipe.dataset,
        prepared.train.len(),
        package.metrics,
        trained.fit.quality,
        package.artifact.len(),
        start.elapsed().as_secs_f64()
    );
    (prepared, trained, package)
}

/// What the trainer fitted against what the decoded artifact computes, on all rows, relative to the larger of 1 and
/// the value.
fn disagreement(prepared: &Prepared, trained: &Trained, package: &Package) -> f64 {
    let model = package.decode().unwrap();
    let tables = [&prepared.train, &prepared.hold_out];
    let differences = tables.into_iter().flat_map(|table| {
        let rows = table.encode(&prepared.encoder()).unwrap();
        let served = predict(&*model, rows.view()).unwrap();
        let pairs: Vec<_> = trained.fitted(rows.view()).into_iter().zip(served).collect();
        pairs.into_iter().map(|(fitted, served)| (fitted - served).abs() / fitted.abs().max(1.0))
    });
    differences.fold(0.0, f64::max)
}

#[test]
fn breast_cancer_reaches_the_accuracy_of_scikit_learn() {
    let (prepared, trained, package) = trained(&recipe("breast-cancer"), None);
    assert_eq!((prepared.train.len(), prepared.hold_out.len()), (426, 143));
    assert_eq!(format!("{:.6}", package.metrics["accuracy"]), "0.979021");
    assert!(package.metrics["auc"] > 0.99, "{:?}", package.metrics);
    assert!(trained.fit.quality.gradient_norm < 1e-8);
    let worst = disagreement(&prepared, &trained, &package);
    assert!(worst < 1e-12, "{worst}");
}

#[test]
fn house_prices_are_predicted_well_for_the_last_year_from_every_year_before() {
    let recipe = recipe("ames");
    for (until, rows, rmse_most) in [
        ("2006", 625, 26_000.0),
        ("2007", 1319, 25_000.0),
        ("2008", 1941, 25_500.0),
        ("2009", 2589, 24_500.0),
    ] {
        let (prepared, trained, package) = trained(&recipe, Some(until));
        assert_eq!((prepared.train.len(), prepared.hold_out.len()), (rows, 341));
        assert!(package.metrics["rmse"] < rmse_most, "{until}: {:?}", package.metrics);
        assert!(package.metrics["r2"] > 0.88, "{until}: {:?}", package.metrics);
        let worst = disagreement(&prepared, &trained, &package);
        assert!(worst < 1e-12, "{until}: {worst}");
    }
}

#[test]
fn a_person_can_fill_in_the_house_price_form() {
    let FeaturePlan::Listed(features) = recipe("ames").features else { panic!("the features are listed") };
    assert!(features.len() <= 20, "{} features", features.len());
    assert!(features.iter().all(|feature| feature.title.is_some()));
}

#[test]
fn a_later_year_widens_the_schema_and_breaks_nobody() {
    let recipe = recipe("ames");
    let first = prepare(&recipe, Some("2006")).unwrap().schema;
    let last = prepare(&recipe, Some("2009")).unwrap().schema;
    assert_ne!(first, last, "ranges widen");
    assert_eq!(last.breaks(&first), Vec::<String>::new());
}

#[test]
fn categories_that_a_later_year_brings_take_the_level_for_others() {
    let recipe = recipe("ames");
    let prepared = prepare(&recipe, Some("2009")).unwrap();
    let (place, feature) = prepared.schema.feature("Neighborhood").unwrap();
    let FeatureKind::Categorical(categorical) = &feature.kind else { panic!("a categorical feature") };
    let Column::Categories(values) = &prepared.train.columns[place] else { panic!("categories") };
    let new: Vec<usize> =
        (0..values.len()).filter(|&row| !categorical.categories.contains(&values[row])).collect();
    assert!(new.iter().any(|&row| values[row] == "Blueste"), "no year after 2006 brings Blueste");
    let rows = prepared.train.encode(&prepared.encoder()).unwrap();
    for row in new {
        assert_eq!(rows[[row, place]], f64::from(u32::try_from(categorical.categories.len()).unwrap()));
    }
}

#[test]
fn an_empty_cell_that_means_none_is_a_category_of_its_own() {
    let prepared = prepare(&recipe("ames"), None).unwrap();
    let (place, _) = prepared.schema.feature("Mas_Vnr_Type").unwrap();
    let none = [&prepared.train, &prepared.hold_out].map(|table| {
        let Column::Categories(values) = &table.columns[place] else { panic!("categories") };
        assert!(values.iter().all(|value| !value.is_empty()));
        values.iter().filter(|value| *value == "None").count()
    });
    assert_eq!(none.iter().sum::<usize>(), 1775);
}

#[test]
fn golden_rows_are_real_rows_and_edges_and_agree_with_the_bytes() {
    for dataset in ["ames", "breast-cancer"] {
        let (prepared, _, package) = trained(&recipe(dataset), None);
        assert_eq!(package.golden.len(), 8);
        modelcast_models::recompute(&*package.decode().unwrap(), &prepared.encoder(), &package.golden)
            .unwrap();
        let unknown = package.golden.inputs.iter().any(|column| match column {
            Column::Categories(values) => values.iter().any(|value| value == "(unknown)"),
            Column::Numbers(_) => false,
        });
        assert_eq!(unknown, dataset == "ames", "an unknown category is among the edges where it has a level");
    }
}

#[test]
fn a_fit_that_ran_out_of_iterations_makes_no_package() {
    for dataset in ["ames", "breast-cancer"] {
        let mut recipe = recipe(dataset);
        recipe.training.max_iterations = 3;
        let prepared = prepare(&recipe, None).unwrap();
        let error = train(&recipe, &prepared).unwrap_err();
        assert!(matches!(error, TrainError::Fit(FitError::NotConverged { .. })), "{error}");
    }
}

#[test]
fn the_champion_is_scored_on_the_rows_of_the_challenger() {
    let recipe = recipe("ames");
    let (old, _, champion) = trained(&recipe, Some("2006"));
    let (new, _, _) = trained(&recipe, Some("2007"));
    assert_eq!(old.hold_out.target, new.hold_out.target);
    let schema = std::sync::Arc::new(champion.schema.clone());
    let metrics =
        score(&*champion.decode().unwrap(), &RowEncoder::new(schema), &new.hold_out, &recipe.target.output);
    assert_eq!(metrics.unwrap(), champion.metrics);
    let other = prepare(&self::recipe("breast-cancer"), None).unwrap();
    let wrong = score(&*champion.decode().unwrap(), &other.encoder(), &new.hold_out, &recipe.target.output);
    assert!(wrong.unwrap_err().to_string().contains("malignant"));
    assert_eq!(Decoders::standard().formats().collect::<Vec<_>>(), [champion.format]);
    assert_eq!(
        champion.artifact,
        trained(&recipe, Some("2006")).2.artifact,
        "the same training gives the same bytes"
    );
}
