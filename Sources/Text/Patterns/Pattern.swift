import CPCRE2
import Synchronization
import TensorCore

/// A regular expression of a tokenizer, compiled by PCRE2. Safe to use from several threads.
///
/// Patterns are written for Oniguruma; `PatternTranslation` turns them into PCRE2's dialect or refuses them. What is a
/// letter or a number is up to PCRE2's Unicode tables (10.42: Unicode 14), so text in characters assigned later may be
/// cut differently than by a reference with newer tables.
final class Pattern: @unchecked Sendable {
    /// Longest pattern accepted, in bytes; the longest of a published tokenizer has a few hundred.
    private static let maximumLength = 65_536
    /// Backtracking steps per match: enough for any sensible pattern on megabytes of text, and an end to any other.
    private static let matchLimit: UInt32 = 10_000_000
    /// The interpreter's memory per match, used where PCRE2 has no just-in-time compiler.
    private static let heapLimitKibibytes: UInt32 = 262_144
    private static let maximumStackBytes = 1 << 20

    /// What one match needs; kept for the next, because texts are matched in many small parts.
    private final class Workspace: @unchecked Sendable {
        let data: OpaquePointer
        let context: OpaquePointer
        let stack: OpaquePointer?

        init?(for code: OpaquePointer) {
            guard let data = pcre2_match_data_create_from_pattern_8(code, nil) else { return nil }
            guard let context = pcre2_match_context_create_8(nil) else {
                pcre2_match_data_free_8(data)
                return nil
            }
            self.data = data
            self.context = context
            stack = pcre2_jit_stack_create_8(32_768, Pattern.maximumStackBytes, nil)
            pcre2_set_match_limit_8(context, Pattern.matchLimit)
            pcre2_set_depth_limit_8(context, Pattern.matchLimit)
            pcre2_set_heap_limit_8(context, Pattern.heapLimitKibibytes)
            if let stack { pcre2_jit_stack_assign_8(context, nil, UnsafeMutableRawPointer(stack)) }
        }

        deinit {
            pcre2_match_data_free_8(data)
            pcre2_match_context_free_8(context)
            if let stack { pcre2_jit_stack_free_8(stack) }
        }
    }

    private let code: OpaquePointer
    private let source: String
    private let workspaces = Mutex<[Workspace]>([])

    /// Throws `.malformed` if the pattern is not supported or not valid.
    init(_ source: String) throws(LaminaError) {
        self.source = source
        guard source.utf8.count <= Pattern.maximumLength else {
            throw LaminaError(.malformed, "", "a pattern is longer than \(Pattern.maximumLength) bytes")
        }
        let translated = Array(try PatternTranslation.translated(source).utf8)
        let context = pcre2_compile_context_create_8(nil)
        defer { pcre2_compile_context_free_8(context) }
        if let context { pcre2_set_newline_8(context, UInt32(PCRE2_NEWLINE_LF)) }
        var status: Int32 = 0
        var offset = 0
        // Oniguruma's anchors are those of lines.
        let options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C
        let code = translated.withUnsafeBufferPointer {
            pcre2_compile_8($0.baseAddress, $0.count, UInt32(options), &status, &offset, context)
        }
        guard let code else {
            throw LaminaError(
                .malformed, "", "the pattern \(quoted(source)) is not valid: \(Pattern.text(of: status))")
        }
        self.code = code
        // Not every processor has the just-in-time compiler; matching works without it.
        pcre2_jit_compile_8(code, UInt32(PCRE2_JIT_COMPLETE))
    }

    deinit { pcre2_code_free_8(code) }

    private static func text(of status: Int32) -> String {
        var buffer = [UInt8](repeating: 0, count: 256)
        let count = pcre2_get_error_message_8(status, &buffer, buffer.count)
        return count > 0 ? String(decoding: buffer[..<Int(count)], as: UTF8.self) : "error \(status)"
    }

    /// Calls `body` with every match in `text`, which must be valid UTF-8, in order.
    ///
    /// An empty match right after the match before it is passed over, as the reference implementation does. Throws
    /// what `body` throws, and `.limit` if a match takes too many steps.
    func forEachMatch(
        in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) throws(LaminaError) -> Void
    ) throws(LaminaError) {
        guard let workspace = workspaces.withLock({ $0.popLast() }) ?? Workspace(for: code) else {
            throw LaminaError(.limit, "", "no memory to match a pattern")
        }
        defer { workspaces.withLock { $0.append(workspace) } }
        var start = 0
        var lastEnd = -1
        while start <= text.count {
            guard let match = try firstMatch(in: text, from: start, workspace) else { return }
            if match.isEmpty, match.upperBound == lastEnd {
                start += 1
                while start < text.count, text[start] & 0xC0 == 0x80 { start += 1 }
                continue
            }
            start = match.upperBound
            lastEnd = match.upperBound
            try body(match)
        }
    }

    private func firstMatch(
        in text: UnsafeBufferPointer<UInt8>, from start: Int, _ workspace: Workspace
    ) throws(LaminaError) -> Range<Int>? {
        let status = pcre2_match_8(
            code, text.baseAddress, text.count, start, UInt32(PCRE2_NO_UTF_CHECK), workspace.data, workspace.context)
        if status == PCRE2_ERROR_NOMATCH { return nil }
        guard status >= 0, let offsets = pcre2_get_ovector_pointer_8(workspace.data) else {
            throw LaminaError(
                .limit, "", "matching the pattern \(quoted(source)) failed: \(Pattern.text(of: status))")
        }
        // A look-around can only move the start past the end with \K, which is refused.
        return offsets[0]..<max(offsets[0], offsets[1])
    }
}

/// The PCRE2 in use, e.g. `10.42`.
public var patternLibraryVersion: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { text in
        guard pcre2_config_8(UInt32(PCRE2_CONFIG_VERSION), text.baseAddress) > 0, let start = text.baseAddress else {
            return "unknown"
        }
        // Number and date, of which the number will do.
        return String(String(cString: start).prefix { $0 != " " })
    }
}
