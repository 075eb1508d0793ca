import Foundation

/// What a finished process said.
public struct ProcessResult: Sendable {
    public var status: Int32
    public var standardOutput: String
    public var standardError: String
}

/// The built executables, run as a user would.
public enum Tool {
    /// The folder with the executables: where the test bundle itself was built.
    public static var folder: URL {
        var url = Bundle.main.bundleURL
        for bundle in Bundle.allBundles where bundle.bundlePath.hasSuffix(".xctest") { url = bundle.bundleURL }
        let candidates = [
            ProcessInfo.processInfo.environment["LAMINA_BIN"].map { URL(fileURLWithPath: $0) },
            URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent(),
            url.deletingLastPathComponent(), url,
        ].compactMap { $0 }
        return candidates.first {
            FileManager.default.isExecutableFile(atPath: $0.appendingPathComponent("lamina-convert").path)
        } ?? candidates[0]
    }

    /// Runs `lamina-NAME`.
    public static func run(
        _ name: String, _ arguments: [String], input: String = "", environment: [String: String] = [:]
    ) throws -> ProcessResult {
        try run(
            executable: folder.appendingPathComponent("lamina-" + name).path, arguments, input: input,
            environment: environment)
    }

    /// Runs any program, its output gathered through files so that no pipe can fill up.
    public static func run(
        executable: String, _ arguments: [String], input: String = "", environment: [String: String] = [:]
    ) throws -> ProcessResult {
        try Fixtures.withScratchFolder { folder in
            let files = ["in", "out", "err"].map { folder + "/" + $0 }
            try Data(input.utf8).write(to: URL(fileURLWithPath: files[0]))
            for file in files[1...] { try Data().write(to: URL(fileURLWithPath: file)) }
            let process = Process()
            process.executableURL = URL(fileURLWithPath: executable)
            process.arguments = arguments
            process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
            process.standardInput = FileHandle(forReadingAtPath: files[0])
            process.standardOutput = FileHandle(forWritingAtPath: files[1])
            process.standardError = FileHandle(forWritingAtPath: files[2])
            try process.run()
            process.waitUntilExit()
            let isSignal = process.terminationReason == .uncaughtSignal
            return ProcessResult(
                status: process.terminationStatus + (isSignal ? 128 : 0),
                standardOutput: String(decoding: try Data(contentsOf: URL(fileURLWithPath: files[1])), as: UTF8.self),
                standardError: String(decoding: try Data(contentsOf: URL(fileURLWithPath: files[2])), as: UTF8.self))
        }
    }

    /// A Python with the packages of scripts/requirements.txt: `LAMINA_PYTHON`, or `nil`.
    public static var python: String? { ProcessInfo.processInfo.environment["LAMINA_PYTHON"] }

    /// A built SmolLM2 checkpoint: `LAMINA_SMOLLM2`, or `nil`.
    public static var smolLM2: String? { ProcessInfo.processInfo.environment["LAMINA_SMOLLM2"] }
}
