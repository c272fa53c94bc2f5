//! The datatypes of the Open Inference Protocol that a feature takes, and what each promises of a value.

use std::fmt;

use super::request::Tensor;
use crate::refusal::{Refusal, shortened};

/// From here on a 64-bit float does not hold every whole number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A numeric datatype.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Datatype {
    /// `FP64`: any finite number.
    Double,
    /// `FP32`: a number that 32 bits can hold the size of.
    Float,
    /// `INT8` to `UINT64`: a whole number from the first to the last.
    Whole(f64, f64),
}

impl Datatype {
    /// The datatype of a tensor for a numeric feature.
    ///
    /// # Errors
    /// [`Refusal::Tensor`] for one that a number cannot have.
    pub(crate) fn of_numbers(tensor: &Tensor<'_>) -> Result<Self, Refusal> {
        Ok(match tensor.datatype.as_ref() {
            "FP64" => Self::Double,
            "FP32" => Self::Float,
            "INT8" => Self::Whole(f64::from(i8::MIN), f64::from(i8::MAX)),
            "INT16" => Self::Whole(f64::from(i16::MIN), f64::from(i16::MAX)),
            "INT32" => Self::Whole(f64::from(i32::MIN), f64::from(i32::MAX)),
            "INT64" => Self::Whole(-EXACT_MAX, EXACT_MAX),
            "UINT8" => Self::Whole(0.0, f64::from(u8::MAX)),
            "UINT16" => Self::Whole(0.0, f64::from(u16::MAX)),
            "UINT32" => Self::Whole(0.0, f64::from(u32::MAX)),
            "UINT64" => Self::Whole(0.0, EXACT_MAX),
            other => return Err(wrong(tensor, other, "FP64 (FP32, INT* and UINT* are taken too)")),
        })
    }

    /// Whether a tensor for a categorical feature says that it holds texts.
    ///
    /// # Errors
    /// [`Refusal::Tensor`] when it says another datatype.
    pub(crate) fn of_texts(tensor: &Tensor<'_>) -> Result<(), Refusal> {
        match tensor.datatype.as_ref() {
            "BYTES" => Ok(()),
            other => Err(wrong(tensor, other, "BYTES")),
        }
    }

    /// The value, when it is what the datatype promises.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(self, value: f64) -> Result<f64, String> {
        let fits = match self {
            Self::Double => true,
            Self::Float => value.abs() <= f64::from(f32::MAX),
            Self::Whole(low, high) => {
                value.fract() == 0.0 && (low..=high).contains(&value) && value.abs() < EXACT_MAX
            }
        };
        if fits { Ok(value) } else { Err(format!("{value} is not {self}")) }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Double => f.write_str("a finite number"),
            Self::Float => f.write_str("a finite 32-bit number"),
            Self::Whole(low, high) => write!(f, "a whole number from {low} to {high} (2^53 at most)"),
        }
    }
}

fn wrong(tensor: &Tensor<'_>, found: &str, expected: &str) -> Refusal {
    Refusal::tensor(&tensor.name, format!("the feature takes {expected}, not {:?}", shortened(found)))
}
