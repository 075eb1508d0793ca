import CZstd
import TensorCore

/// Standard zstd frames that hold literals only: Huffman coding without a match search, which on weights would cost
/// both ratio and speed at every level below 19.
public final class LiteralZstdEncoder: @unchecked Sendable {
    // Sendable: handed from thread to thread, used by one at a time.
    private let context: OpaquePointer

    /// Throws `.limit` when memory is short, `.unexpected` if this libzstd refuses a parameter.
    public init() throws(LaminaError) {
        guard let context = ZSTD_createCCtx() else { throw LaminaError(.limit, "", "no memory for a zstd encoder") }
        self.context = context
        // `ZSTD_fast` that never finds a match: longest minimum match, smallest table, and an acceleration
        // (targetLength) of a whole block. Literal compression must be forced on, or it is off at such settings.
        let parameters: [(ZSTD_cParameter, Int32)] = [
            (ZSTD_c_strategy, Int32(ZSTD_fast.rawValue)), (ZSTD_c_minMatch, 7), (ZSTD_c_targetLength, 131_072),
            (ZSTD_c_hashLog, 6), (ZSTD_c_contentSizeFlag, 1), (ZSTD_c_checksumFlag, 0), (ZSTD_c_dictIDFlag, 0),
            (ZSTD_c_experimentalParam5, Int32(ZSTD_ps_enable.rawValue)),  // ZSTD_c_literalCompressionMode
        ]
        for (parameter, value) in parameters where ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)) != 0
        {
            ZSTD_freeCCtx(context)
            throw LaminaError(.unexpected, "libzstd", "refuses parameter \(parameter.rawValue) = \(value)")
        }
    }

    deinit { ZSTD_freeCCtx(context) }

    /// Room that always suffices for `count` bytes.
    public static func bound(_ count: Int) -> Int { ZSTD_compressBound(count) }

    /// One frame; returns its size. `output` must have room for `bound` bytes. Throws `.unexpected`.
    public func encode(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) throws(LaminaError) -> Int {
        let size = ZSTD_compress2(context, output.baseAddress, output.count, input.baseAddress, input.count)
        guard ZSTD_isError(size) == 0 else {
            throw LaminaError(.unexpected, "libzstd", String(cString: ZSTD_getErrorName(size)))
        }
        return size
    }
}

/// Decodes zstd frames of known decoded size; memory is the output buffer and a fixed context.
public final class ZstdDecoder: @unchecked Sendable {
    // Sendable: as the encoder.
    private let context: OpaquePointer

    public init() throws(LaminaError) {
        guard let context = ZSTD_createDCtx() else { throw LaminaError(.limit, "", "no memory for a zstd decoder") }
        self.context = context
    }

    deinit { ZSTD_freeDCtx(context) }

    /// What is wrong with the frame, or `nil` when `output` is filled exactly.
    public func decode(_ frame: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> String? {
        let size = ZSTD_decompressDCtx(context, output.baseAddress, output.count, frame.baseAddress, frame.count)
        if ZSTD_isError(size) != 0 { return "zstd: " + String(cString: ZSTD_getErrorName(size)) }
        return size == output.count ? nil : "a frame decodes to \(size) bytes instead of \(output.count)"
    }
}

/// The libzstd in use, e.g. `1.5.4`.
public var zstdVersion: String { String(cString: ZSTD_versionString()) }
