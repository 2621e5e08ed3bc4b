//! Measures prefill and decode: `measure MODEL [threads] [prompt] [generated] [rounds]` prints one
//! JSON object with the median and the best of the rounds, in tokens per second.

use edgeformer_engine::{LoadOptions, Model, Session, SessionOptions};
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

fn median_and_best(mut rates: Vec<f64>) -> (f64, f64) {
    rates.sort_by(f64::total_cmp);
    (rates[rates.len() / 2], rates[rates.len() - 1])
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path =
        arguments.first().ok_or("usage: measure MODEL [threads] [prompt] [generated] [rounds]")?;
    let number = |index: usize, default: usize| {
        arguments.get(index).map_or(Ok(default), |text| text.parse::<usize>())
    };
    let (threads, prompt) = (number(1, 0)?, number(2, 128)?);
    let (generated, rounds) = (number(3, 64)?, number(4, 5)?.max(1));
    let start = Instant::now();
    let options = LoadOptions { threads, ..LoadOptions::default() };
    let model = Arc::new(Model::load(std::fs::File::open(path)?, &options)?);
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let options = SessionOptions { max_context: prompt + generated, ..SessionOptions::default() };
    let mut session = Session::new(model.clone(), options)?;
    let tokens: Vec<u32> =
        (0..prompt).map(|index| (index * 7919 % model.config().vocab) as u32).collect();
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        session.truncate(0);
        let start = Instant::now();
        session.feed(&tokens, &|| false)?;
        prefill.push(prompt as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        for index in 0..generated {
            session.feed(&[tokens[index % prompt]], &|| false)?;
        }
        decode.push(generated as f64 / start.elapsed().as_secs_f64());
    }
    let ((prefill, prefill_best), (decode, decode_best)) =
        (median_and_best(prefill), median_and_best(decode));
    println!(
        "{{\"load_ms\":{load_ms:.1},\"prompt\":{prompt},\"generated\":{generated},\
         \"prefill\":{prefill:.1},\"prefill_best\":{prefill_best:.1},\
         \"decode\":{decode:.1},\"decode_best\":{decode_best:.1}}}"
    );
    Ok(())
}
