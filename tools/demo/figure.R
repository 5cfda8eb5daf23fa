# The figure of the demonstration: cells before and after, what was measured, and the training curve.

BATCH_COLOURS <- c("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")

colours_of <- function(values, palette = NULL) {
  n <- nlevels(values)
  colours <- if (!is.null(palette) && n <= length(palette)) palette[seq_len(n)] else grDevices::hcl.colors(n, "Dark 3")
  stats::setNames(colours, levels(values))
}

demo_theme <- function() {
  ggplot2::theme_minimal(base_size = 9) +
    ggplot2::theme(
      panel.grid.minor = ggplot2::element_blank(),
      plot.title = ggplot2::element_text(size = 9, face = "bold"),
      plot.title.position = "plot",
      legend.key.height = grid::unit(3, "mm"),
      legend.position = "bottom",
      legend.margin = ggplot2::margin()
    )
}

# Two dimensions of a space, for looking at it.
umap_of <- function(space) {
  set.seed(1)
  uwot::umap(space, n_neighbors = min(30L, nrow(space) - 1L), min_dist = 0.3, n_threads = 1, n_sgd_threads = 1)
}

# One map. In the last row types are named on the map, and batches in a legend, for batches should not form places.
map_plot <- function(map, values, title, is_type, is_last) {
  cells <- data.frame(x = map[, 1], y = map[, 2], value = values)
  cells <- cells[order(stats::runif(nrow(cells))), ]
  size <- if (nrow(cells) > 5000) 0.3 else if (nrow(cells) > 500) 0.6 else 1.5
  plot <- ggplot2::ggplot(cells, ggplot2::aes(x, y, colour = value)) +
    ggplot2::geom_point(size = size, stroke = 0, shape = 16, show.legend = is_last && !is_type) +
    ggplot2::labs(title = title, x = NULL, y = NULL, colour = NULL) +
    demo_theme() +
    ggplot2::theme(axis.text = ggplot2::element_blank(), panel.grid = ggplot2::element_blank(),
                   panel.border = ggplot2::element_rect(fill = NA, colour = "grey85"))
  colours <- ggplot2::scale_colour_manual(values = colours_of(values, if (!is_type) BATCH_COLOURS))
  if (is_type && is_last) {
    middle <- stats::aggregate(cbind(x, y) ~ value, cells, stats::median)
    plot <- plot + ggrepel::geom_text_repel(
      data = middle, ggplot2::aes(label = value), colour = "black", bg.color = "white", bg.r = 0.15,
      size = 2.5, seed = 1, max.overlaps = Inf, min.segment.length = 1
    )
  }
  plot + colours + ggplot2::guides(colour = ggplot2::guide_legend(override.aes = list(size = 2)))
}

measures_plot <- function(measured) {
  long <- data.frame(
    what = factor(rep(rownames(measured), 2), levels = rev(rownames(measured))),
    method = factor(rep(colnames(measured), each = nrow(measured)), levels = colnames(measured)),
    value = as.vector(measured)
  )
  ggplot2::ggplot(long, ggplot2::aes(value, what, colour = method)) +
    ggplot2::geom_line(ggplot2::aes(group = what), colour = "grey75") +
    ggplot2::geom_point(size = 2.5) +
    ggplot2::scale_x_continuous(limits = c(min(0, long$value), max(1, long$value))) +
    ggplot2::scale_y_discrete(labels = function(text) gsub(" (against|of the|\\()", "\n\\1", text)) +
    ggplot2::scale_colour_manual(values = c("grey55", "#D55E00")) +
    ggplot2::labs(title = "Measured: 1 is best", x = NULL, y = NULL, colour = NULL) +
    demo_theme()
}

curve_plot <- function(curve) {
  curve + ggplot2::labs(title = "Training of scVI: loss, nats a cell", x = "epoch", y = NULL) + demo_theme()
}

# `spaces`: two spaces by name. `columns`: factors by name of the column, NULL where there is none; `types` is the
# name of the one with the types. `curve`: the plot of the trained model.
demo_figure <- function(spaces, columns, types, measured, curve, title) {
  columns <- Filter(Negate(is.null), columns)
  rows <- lapply(names(spaces), function(name) {
    map <- umap_of(spaces[[name]])
    lapply(names(columns), function(column) {
      map_plot(map, columns[[column]], paste0(name, ", by ", column), column == types, name == names(spaces)[2])
    })
  })
  right <- c(if (!is.null(measured)) list(measures_plot(measured)), list(curve_plot(curve)))
  if (length(right) == 1) right <- c(right, list(patchwork::plot_spacer()))
  panels <- c(rows[[1]], right[1], rows[[2]], right[2])
  patchwork::wrap_plots(panels, nrow = 2) + patchwork::plot_annotation(title = title)
}
