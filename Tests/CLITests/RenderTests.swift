import Foundation
import TensorCore
import TestSupport
import Testing

/// `lamina-run render`, and how answers are ended and repeated.
@Suite struct RenderTests {
    private func answers(_ arguments: [String], _ lines: [String]) throws -> [JSONObject] {
        let run = try Tool.run("run", ["render", "--json"] + arguments, input: lines.joined(separator: "\n") + "\n")
        try #require(run.status == 0, "\(run.standardError)")
        return try run.standardOutput.split(separator: "\n").map { line in
            try #require(try JSONValue.parse(Array(line.utf8)).object)
        }
    }

    @Test func rendersTheTemplateOfAStore() throws {
        try withTextStore { store, folder in
            let conversation = #"[{"role": "user", "content": "Hi"}]"#
            let text =
                "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
                + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
            for place in [[store], ["--tokenizer", folder + "/source"]] {
                let run = try Tool.run("run", ["render"] + place, input: conversation)
                #expect(run.status == 0)
                #expect(run.standardOutput == text)
                let rendered = try answers(place, [#"{"messages": \#(conversation), "add_generation_prompt": true}"#])
                #expect(rendered[0]["text"]?.string == text)
            }
        }
    }

    @Test func answersEveryLine() throws {
        let lines = [
            #"{"template": "{{ strftime_now('%Y') }}{{ tools[0] }}", "messages": [], "now": "1999-01-01", "kwargs": {"tools": [1]}}"#,
            #"{"template": "{{ x.y }}", "messages": []}"#, "{", #"{"template": "a", "messages": [3]}"#,
            #"{"messages": []}"#,
            #"{"template": "{{ messages[0].role }}", "messages": [{"role": "tool"}]}"#,
        ]
        let results = try answers([], lines)
        #expect(results.map { $0["text"]?.string } == ["19991", nil, nil, nil, nil, "tool"])
        #expect(results[1]["error"]?.string?.contains("line 1, column 5: 'x' is undefined") == true)
        #expect(results[2]["error"]?.string?.contains("standard input: line 3: invalid JSON") == true)
    }

    @Test(arguments: [([], 64), (["--tokenizer", "a", "--template", "b"], 64), (["--template", "none-such"], 66)])
    func refusesOtherSources(_ arguments: [String], _ status: Int) throws {
        let run = try Tool.run("run", ["render"] + arguments, input: "[]")
        #expect(run.status == Int32(status))
    }

    private func generated(_ store: String, _ options: [String]) throws -> JSONObject {
        let run = try Tool.run("run", [store, "-p", "Once", "-n", "12", "--json", "--quiet", "--ignore-eos"] + options)
        try #require(run.status == 0, "\(run.standardError)")
        return try #require(try JSONValue.parse(Array(run.standardOutput.utf8)).object)
    }

    /// Every sample is what its seed gives alone, on any number of threads.
    @Test func samplesAreThoseOfTheirSeeds() throws {
        try withTextStore { store, _ in
            let options = ["--temp", "1.5", "--typical-p", "0.9", "--frequency-penalty", "0.5"]
            let together = try generated(store, options + ["--samples", "3", "--seed", "7", "--threads", "2"])
            let samples = try #require(together["samples"]?.array).compactMap(\.object)
            #expect(samples.compactMap { $0["seed"]?.integer } == [7, 8, 9])
            for sample in samples {
                let seed = try #require(sample["seed"]?.integer)
                let alone = try generated(store, options + ["--seed", "\(seed)", "--threads", "1"])
                #expect(alone["ids"]?.array?.map(\.integer) == sample["ids"]?.array?.map(\.integer))
                #expect(alone["text"]?.string == sample["text"]?.string)
            }
            #expect(Set(samples.compactMap { $0["text"]?.string }).count == 3)
        }
    }

    /// A text cut at any of its parts ends there, and the ids are a beginning of those without a stop.
    @Test func endsBeforeAStopString() throws {
        try withTextStore { store, _ in
            let whole = try generated(store, ["--temp", "0"])
            let text = Array(try #require(whole["text"]?.string).unicodeScalars)
            let middle = text.count / 2
            var stop = String.UnicodeScalarView()
            stop.append(contentsOf: text[middle..<min(middle + 3, text.count)])
            let cut = try generated(store, ["--temp", "0", "--stop", String(stop)])
            #expect(cut["finish_reason"]?.string == "stop")
            let kept = Array(try #require(cut["text"]?.string).utf8)
            #expect(kept.count <= String(String.UnicodeScalarView(text[..<middle])).utf8.count)
            #expect(Array(try #require(whole["text"]?.string).utf8).starts(with: kept))
        }
    }

    @Test(arguments: [
        ["--logit-bias", "49152=1"], ["--logit-bias", "1=inf"], ["--logit-bias", "x"], ["--stop", ""],
        ["--samples", "0"], ["--typical-p", "2"], ["--presence-penalty", "nan"],
    ])
    func refusesOptionsOutOfRange(_ options: [String]) throws {
        try withTextStore { store, _ in
            let run = try Tool.run("run", [store, "-p", "x"] + options)
            #expect(run.status == 64)
        }
    }
}
