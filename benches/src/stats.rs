//! Medians and percentiles of samples.

/// Samples of one way, sorted.
#[derive(Clone, Debug)]
pub struct Samples(Vec<u64>);

impl Samples {
    pub fn new(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        Self(values)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub fn p99(&self) -> f64 {
        self.at(0.99)
    }

    pub fn worst(&self) -> f64 {
        self.at(1.0)
    }

    fn at(&self, fraction: f64) -> f64 {
        let last = self.0.len().saturating_sub(1) as f64;
        self.0
            .get((last * fraction).round() as usize)
            .map_or(f64::NAN, |&value| value as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::Samples;

    #[test]
    fn the_percentiles_of_a_hundred_and_one_numbers_are_themselves() {
        let samples = Samples::new((0..=100).rev().collect());
        assert_eq!(samples.median(), 50.0);
        assert_eq!(samples.p99(), 99.0);
        assert_eq!(samples.worst(), 100.0);
    }
}
