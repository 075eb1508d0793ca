import Foundation
import TestSupport
import Testing

/// `lamina-run plan`: what it tells is what generate then does.
@Suite struct PlanTests {
    /// A store of some 37 MB, so that budgets of whole MiB differ.
    private func withLargerStore(_ body: (String) throws -> Void) throws {
        try Fixtures.withScratchFolder { folder in
            var sizes = SyntheticCheckpoint.LlamaSizes()
            (sizes.hidden, sizes.intermediate, sizes.layers, sizes.vocabulary) = (256, 1024, 8, 2000)
            sizes.dtype = .float32
            let source = folder + "/source"
            try SyntheticCheckpoint.writeLlama(sizes, to: source)
            try body(try makeStore(source, in: folder, ["--codec", "raw"]))
        }
    }

    private func object(_ value: Any?) throws -> [String: Any] { try #require(value as? [String: Any]) }
    private func number(_ object: [String: Any], _ key: String) throws -> Double {
        try #require(object[key] as? Double, "\(key)")
    }

    @Test func numbersAreThoseOfGenerate() throws {
        try withLargerStore { store in
            let least = try number(plan(store, ["--memory", "1TiB"]), "minimum_bytes")
            for extra in [2, 20, 200] {
                let memory = ["--memory", "\((Int(least) >> 20) + extra)MiB"]
                let plan = try plan(store, memory)
                let command = ["generate", store, "--ids", "1,2,3", "-n", "8", "--ignore-eos", "--temp", "0"]
                let report = try json("run", command + memory + ["--json", "--quiet"])
                let (timings, forecast) = (try object(report["timings"]), try object(report["forecast"]))
                let all = try number(plan, "pass_bytes")
                #expect(try number(timings, "pass_bytes") == all)
                #expect(try number(forecast, "bytes_per_pass") == all)
                // The processes themselves differ by some pages.
                let slack = 0.06 * all
                let resident = try number(plan, "resident_bytes")
                #expect(abs(try number(timings, "resident_bytes") - resident) <= slack, "\(extra)")
                #expect(abs(try number(timings, "hit_rate") - number(plan, "resident_share")) <= 0.06)
                let (read, expected) = (try number(timings, "bytes_per_token"), try number(plan, "bytes_per_token"))
                #expect(abs(read - expected) <= slack, "\(extra): \(read), \(expected) of \(all)")
                if extra == 200 { #expect(resident == all) }
            }
        }
    }

    private func plan(_ store: String, _ options: [String]) throws -> [String: Any] {
        try json("run", ["plan", store, "--prompt-tokens", "3", "-n", "8", "--json"] + options)
    }

    @Test func moreMemoryReadsLess() throws {
        try withLargerStore { store in
            let plan = try plan(store, ["--batch", "4"])
            let sweep = try #require(plan["sweep"] as? [[String: Any]])
            #expect(sweep.count >= 2)
            let budgets = try sweep.map { try number($0, "memory_bytes") }
            #expect(zip(budgets, budgets.dropFirst()).allSatisfy { 2 * $0 == $1 })
            let isSmall = sweep.map { $0["too_small"] as? Bool == true }
            #expect(isSmall == isSmall.sorted { $0 && !$1 })
            let gains = sweep.filter { $0["too_small"] == nil }
            let shares = try gains.map { try number($0, "resident_share") }
            let bytes = try gains.map { try number($0, "bytes_per_token") }
            #expect(shares == shares.sorted() && bytes == bytes.sorted(by: >))
            #expect(shares.last == 1 && bytes.last == 0)
            for (budget, tooSmall) in zip(budgets, isSmall) {
                #expect(try tooSmall == (budget < number(plan, "minimum_bytes")))
            }
            let disk = try object(plan["disk"])
            #expect(try number(disk, "bytes_per_second") > 0 && number(disk, "depth") >= 1)
            let compute = try object(plan["compute"])
            #expect((compute["products"] as? [Any])?.isEmpty == false)
            for key in ["decode", "prefill", "batch"] { #expect(try object(plan[key]).isEmpty == false) }
            #expect(try number(object(plan["batch"]), "tokens_per_second") > 0)
            #expect(try number(object(plan["decode"]), "seconds_per_token") > 0)
            #expect(try number(object(plan["prefill"]), "tokens") == 3)
        }
    }

    @Test func peopleGetATable() throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/llama32-tied"), in: folder)
            for options in [[], ["--io", "buffered", "--io-depth", "1"], ["--threads", "1", "--batch", "1"]] {
                let result = try Tool.run("run", ["plan", store] + options)
                #expect(result.status == 0, "\(result.standardError)")
                for word in ["model ", "weights ", "memory ", "disk ", "compute ", "decode ", "prefill ", "batch "] {
                    #expect(result.standardOutput.contains("\n\(word)") || result.standardOutput.hasPrefix(word))
                }
                #expect(result.standardOutput.contains("read per token"))
                #expect(result.standardError.isEmpty)
            }
        }
    }

    @Test func whatCannotBeIsRefused() throws {
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(Fixtures.path("models/llama2-gqa"), in: folder)
            for (options, status, text) in [
                (["--memory", "1K"], 70, "at least"), (["--batch", "0"], 64, "--batch"),
                (["-n", "0"], 64, "--max-tokens"),
                (["--prompt-tokens", "100000000"], 64, "longer than the context"), (["--io", "tape"], 64, "--io"),
                (["--io-depth", "33"], 64, "--io-depth"),
            ] as [([String], Int32, String)] {
                let result = try Tool.run("run", ["plan", store] + options)
                #expect(result.status == status, "\(options): \(result.standardError)")
                #expect(result.standardError.contains(text), "\(result.standardError)")
                #expect(result.standardOutput.isEmpty)
            }
        }
    }
}
