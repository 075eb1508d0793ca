// Queries that share one KV head's cache. Compiled once per instruction set, after the definitions listed in
// panel_product.h and kv_layout.h and
//   ATTENTION_CHAINS   vectors of sums at once that stay in registers
#ifndef LAMINA_ATTENTION_H
#define LAMINA_ATTENTION_H

#include "attention_latent.h"
#include "attention_scores.h"
#include "attention_values.h"

// `type` and `queries` are constants, so that every chain has a register.
LAMINA_INLINE void attend_queries(lamina_kv_type type, const lamina_attention_task *task, size_t queries) {
    score_span(type, task, queries);
    for (size_t query = 0; query < queries; ++query) {
        weights_from_scores(task, query);
    }
    if (task->values != NULL) {
        weigh_all_values(type, task, queries);
    } else {
        weigh_all_latents(type, task, queries);
    }
}

LAMINA_INLINE void attend_type(lamina_kv_type type, const lamina_attention_task *task) {
    switch (task->queries) {
    case 4: return attend_queries(type, task, 4);
    case 3: return attend_queries(type, task, 3);
    case 2: return attend_queries(type, task, 2);
    default: return attend_queries(type, task, 1);
    }
}

static void attend(const lamina_attention_task *task) {
    switch (task->type) {
    case LAMINA_KV_F32: return attend_type(LAMINA_KV_F32, task);
    case LAMINA_KV_F16: return attend_type(LAMINA_KV_F16, task);
    case LAMINA_KV_BF16: return attend_type(LAMINA_KV_BF16, task);
    case LAMINA_KV_Q8: return attend_type(LAMINA_KV_Q8, task);
    }
}

#endif
