const svg = 'http://www.w3.org/2000/svg'

/** Strokes on a grid of 24. */
const paths = {
  arrowDown: 'M12 5v14m-6-6 6 6 6-6',
  arrowUp: 'M12 19V5m-6 6 6-6 6 6',
  back: 'M15 6l-6 6 6 6',
  box: 'M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  clock: 'M12 7v5l3 2M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z',
  copy: 'M9 9h10v11H9zM15 9V4H5v11h4',
  cross: 'M6.5 6.5l11 11m0-11l-11 11',
  file: 'M6 3h8l4 4v14H6zM14 3v4h4',
  globe: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM3.5 12h17M12 3.5c3 3 3 14 0 17-3-3-3-14 0-17',
  list: 'M9 6h11M9 12h11M9 18h11M4.5 6h.01M4.5 12h.01M4.5 18h.01',
  pencil: 'M4 20l1-5L16 4l4 4L9 19zM13.5 6.5l4 4',
  plus: 'M12 5v14M5 12h14',
  robot: 'M5 9h14v10H5zM12 9V5M9.5 13.5v1.5M14.5 13.5v1.5',
  search: 'M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L20 20',
  stop: 'M7 7h10v10H7z',
  terminal: 'M5 7l5 5-5 5M12.5 18H19',
  tool: 'M14 7a4 4 0 0 1 5-3.5L16.5 6l1.5 1.5L20.5 5A4 4 0 0 1 15 10L7 18.5 5 16.5 13.5 8',
  warning: 'M12 4l9 16H3zM12 10v4.5M12 17.2v.1'
}

/** A decoration: what it means is always said in words beside it. */
export function icon (name) {
  const element = document.createElementNS(svg, 'svg')
  const path = document.createElementNS(svg, 'path')
  for (const [key, value] of Object.entries({ class: 'icon', viewBox: '0 0 24 24', 'aria-hidden': 'true' })) {
    element.setAttribute(key, value)
  }
  path.setAttribute('d', paths[name])
  element.append(path)
  return element
}
