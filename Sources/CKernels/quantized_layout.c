// Sizes and places of quantized panels.
#include "strict_floats.h"

#include "quantized_layout.h"

size_t lamina_quantized_columns(size_t columns) {
    return round_up(columns, QUANTIZED_BLOCK);
}

size_t lamina_quantized_entries(lamina_scheme scheme, size_t columns) {
    if (scheme == LAMINA_SCHEME_ROW8) {
        return 1;
    }
    return scheme_has_chains(scheme) ? round_up(columns, QUANTIZED_BLOCK) / QUANTIZED_BLOCK
                                     : flat_entries(scheme, columns);
}

size_t lamina_quantized_panel_bytes(lamina_scheme scheme, size_t columns) {
    const size_t padded = round_up(columns, QUANTIZED_BLOCK);
    if (scheme == LAMINA_SCHEME_ROW8) {
        return ROW8_HEADER + code_bytes(scheme, padded);
    }
    if (scheme_has_chains(scheme)) {
        const size_t whole = padded / LAMINA_CHAIN_LENGTH * chain_layout(scheme, LAMINA_CHAIN_LENGTH).bytes;
        const size_t rest = padded % LAMINA_CHAIN_LENGTH;
        return rest == 0 ? whole : whole + chain_layout(scheme, rest).bytes;
    }
    return flat_codes_offset(scheme, columns) + code_bytes(scheme, padded);
}

size_t lamina_quantized_slot_bytes(lamina_scheme scheme, size_t columns, size_t panels) {
    return panels * lamina_quantized_panel_bytes(scheme, columns);
}

lamina_quantized_panel lamina_quantized_panel_at(lamina_scheme scheme, const void *slot, size_t panel_in_slot,
                                                 size_t columns, size_t first_row_of_slot, size_t rows_of_matrix) {
    const size_t row = first_row_of_slot + panel_in_slot * QUANTIZED_ROWS;
    const size_t rows = rows_of_matrix > row ? rows_of_matrix - row : 0;
    return (lamina_quantized_panel){
        .bytes = (const uint8_t *)slot + lamina_quantized_slot_bytes(scheme, columns, panel_in_slot),
        .columns = columns,
        .row = row,
        .rows = LAMINA_MIN(rows, (size_t)QUANTIZED_ROWS),
    };
}

size_t lamina_narrow_bound(size_t columns) {
    return NARROW_HEADER + lamina_quantized_panel_bytes(LAMINA_SCHEME_ROW8, columns);
}
