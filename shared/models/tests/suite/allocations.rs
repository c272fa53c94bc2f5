//! The path of a request allocates nothing, so that its latency does not depend on the allocator.

use allocation_counter::measure;
use modelcast_models::{Link, Model, RowEncoder, Value};
use ndarray::{Array2, array};

use crate::cases::{Case, house};

#[test]
fn predicting_allocates_nothing() {
    for link in [Link::Identity, Link::Logit, Link::Exp] {
        let Case { schema, model, rows } = house(link);
        let model = model.bind(&schema).unwrap();
        let batch = array![[8.0, 1.0, 3.0, 2.0], [4.0, 0.0, 1.0, 0.0]];
        let mut outputs = [0.0];
        let mut batch_outputs = Array2::zeros((2, 1));
        let cost = measure(|| {
            model.predict(&rows[0], &mut outputs).unwrap();
            model.predict_batch(batch.view(), batch_outputs.view_mut()).unwrap();
        });
        assert_eq!(cost.count_total, 0);
        assert!(outputs[0] > 0.0 && batch_outputs[[0, 0]] == outputs[0]);
    }
}

#[test]
fn encoding_into_a_used_row_allocates_nothing() {
    let encoder = RowEncoder::new(house(Link::Identity).schema);
    let values = [
        ("air", Value::Category("central")),
        ("area", Value::Number(600.0)),
        ("zone", Value::Category("town")),
        ("baths", Value::Number(1.0)),
    ];
    let mut row = Vec::with_capacity(encoder.width());
    let mut unusual = 0;
    let cost = measure(|| {
        encoder.encode_row(values, &mut row).unwrap();
        unusual = encoder.unusual(&row).count();
    });
    assert_eq!((cost.count_total, unusual), (0, 2), "a large area, and an air that training did not see");
    assert_eq!(row, [600.0, 0.0, 1.0, 2.0]);
}
