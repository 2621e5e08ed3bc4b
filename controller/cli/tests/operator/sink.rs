//! Sinks from the command line, with a webhook on this machine.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::{Controller, START_TIMEOUT};

/// Takes one request and answers it; the request as it came.
fn take_one(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).unwrap();
        request.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&request);
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if count == 0 || length.zip(body).is_some_and(|(n, body)| n.parse() == Ok(body)) {
            let answer = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            return String::from_utf8(request).unwrap();
        }
    }
}

#[test]
fn an_operator_streams_the_log_to_a_webhook_and_stops_it() {
    let controller = Controller::start_with(&["--outbound-allow", "127.0.0.0/8"]).with_tenant();
    assert!(controller.ok(&["audit", "sink", "list"]).contains("streamed nowhere"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let add = ["audit", "sink", "add"];
    controller.fails(&[&add[..], &["x"]].concat(), 2, "--syslog");
    controller.fails(&[&add[..], &["x", "--syslog", "h"]].concat(), 2, "--receiver-ca");
    let absent = ["x", "--syslog", "h", "--receiver-ca", "no-such-file"];
    controller.fails(&[&add[..], &absent].concat(), 2, "cannot be read");
    let ca = controller.path("data/ca.pem");
    let made = ["siem", "--syslog", "siem.example:601", "--receiver-ca", &ca];
    let siem = controller.json(&[&add[..], &made].concat());
    assert_eq!(siem["address"], "siem.example:601");
    let made = ["hook", "--webhook", &url, "--from", "0"];
    let hook = controller.json(&[&add[..], &made].concat());
    let id = hook["id"].as_str().unwrap();
    // The log from its beginning, in as many batches as it was sequenced in.
    loop {
        let request = take_one(&listener);
        assert!(request.contains("x-edgeformer-signature: ed25519="), "{request}");
        if request.contains("\"action\":\"audit_sink:create\"") {
            break;
        }
    }

    assert!(controller.ok(&["audit", "sink", "stop", id]).contains("stopped"));
    let moved = ["audit", "sink", "change", id, "--address", "https://hook.example"];
    assert!(controller.ok(&moved).contains("https://hook.example/"));
    let began = Instant::now();
    while !controller.ok(&["audit", "sink", "list"]).contains("stopped") {
        assert!(began.elapsed() < START_TIMEOUT);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(controller.ok(&["audit", "sink", "start", id]).contains("hook"));
    controller.fails(&["audit", "sink", "remove", id], 2, "add --yes");
    controller.ok(&["audit", "sink", "remove", id, "--yes"]);
    assert_eq!(controller.json(&["audit", "sink", "list"]).as_array().unwrap().len(), 1);
}
