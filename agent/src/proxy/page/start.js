'use strict';
// Shows the space's status as it comes, and turns into the app once that is ready. Everything that an app, a step or a
// document says is put in as text.
(function () {
  const el = (id) => document.getElementById(id);
  const { base, app } = document.body.dataset;
  const KEPT = 300;
  const opened = Date.now();
  let status = null, received = 0, lastSeq = -1, failures = 0, lostSince = 0, leaving = false;

  const show = (id, yes) => { el(id).hidden = !yes; };
  const say = (id, text) => { if (el(id).textContent !== text) el(id).textContent = text; };
  const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  function spoken(ms) {
    if (ms < 9950) return (ms / 1000).toFixed(1) + ' s';
    const s = Math.round(ms / 1000);
    if (s < 120) return s + ' s';
    return Math.floor(s / 60) + ' min ' + (s % 60) + ' s';
  }

  const PHASES = { booting: 'Starting', running: 'Running', notice: 'About to stop', stopping: 'Stopping', stopped: 'Stopped', failed: 'Failed' };
  const MARKS = { done: '\u2713', ready: '\u2713', skipped: '\u2013', failed: '!' };
  const STATES = { waiting: 'waiting', starting: 'starting', ready: 'ready', restarting: 'starting again', failed: 'failed', stopped: 'stopped', dropped: 'dropped' };

  function title() {
    const own = status.apps.find((one) => one.name === app) || status.apps[0];
    const label = own ? own.label : status.space;
    switch (status.phase) {
      case 'booting': return 'Getting ' + label + ' ready';
      case 'notice': return 'This space stops soon';
      case 'stopping': return 'This space is stopping';
      case 'stopped': return 'This space has stopped';
      case 'failed': return 'This space could not start';
      default:
        if (!own || own.state === 'ready') return label + ' is ready';
        if (own.state === 'failed') return label + ' does not run';
        return own.restarts > 0 ? label + ' is starting again' : label + ' is starting';
    }
  }

  function row(state, name, kind, time, why) {
    const item = document.createElement('li');
    item.dataset.state = state;
    const part = (tag, name, text) => {
      const node = document.createElement(tag);
      if (name) node.className = name;
      node.textContent = text;
      return node;
    };
    const label = part('span', 'name', name);
    label.append(part('small', '', kind));
    const mark = part('span', 'mark', MARKS[state] || '');
    mark.title = state;
    item.append(mark, label, part('span', 'time', time));
    if (why) item.append(part('span', 'why', why));
    return item;
  }

  function stepTime(step) {
    if (step.state === 'running') return spoken((step.took_ms || 0) + Date.now() - received);
    if (step.state === 'done' || step.state === 'failed') return spoken(step.took_ms || 0);
    return step.state === 'skipped' ? 'nothing to do' : step.state;
  }

  function list() {
    const rows = status.steps.map((step) => row(step.state, step.name, step.kind, stepTime(step), step.why));
    for (const one of status.apps) rows.push(row(one.state, one.label, one.kind, STATES[one.state] || one.state, one.why));
    el('list').replaceChildren(...rows);
    show('work', rows.length > 0);
  }

  function progress() {
    const over = status.steps.filter((step) => step.state !== 'waiting' && step.state !== 'running').length;
    const ready = status.apps.filter((one) => one.state === 'ready').length;
    const all = status.steps.length + status.apps.length;
    show('bar', status.phase === 'booting' && all > 0);
    el('progress').style.width = (all ? 100 * (over + ready) / all : 0) + '%';
  }

  function failure() {
    const own = status.apps.find((one) => one.name === app);
    const failed = status.phase === 'failed' || Boolean(own && own.state === 'failed');
    show('failed', failed);
    if (!failed) return;
    const step = status.steps.find((one) => one.state === 'failed');
    say('cause', upper(status.reason || (own && own.why) || (step && step.why) || status.sentence));
    say('remedy', step ? 'Its whole output: space-agent logs ' + step.name : own ? 'Its whole output: space-agent logs ' + own.name : '');
  }

  function notice() {
    show('notice', status.phase === 'notice');
    if (status.phase !== 'notice') return;
    const end = status.activity.stops_at ? Date.parse(status.activity.stops_at) : 0;
    const left = end ? Math.max(0, end - Date.now()) : 0;
    say('notice-text', upper(status.activity.sentence) + (end ? ' \u2014 it stops in ' + spoken(left) : ''));
  }

  function warnings() {
    el('warnings').replaceChildren(...status.warnings.map((text) => {
      const line = document.createElement('p');
      line.textContent = text;
      return line;
    }));
    show('warnings', status.warnings.length > 0);
  }

  function draw() {
    if (!status) return;
    document.title = status.space + ' \u2013 ' + (PHASES[status.phase] || status.phase);
    say('phase', PHASES[status.phase] || status.phase);
    say('title', title());
    say('sentence', upper(status.sentence));
    list(); progress(); failure(); notice(); warnings();
    say('footer', 'space-agent ' + status.agent.version);
  }

  function line(entry) {
    if (entry.seq <= lastSeq) return;
    lastSeq = entry.seq;
    const pre = el('lines');
    const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
    const node = document.createElement('div');
    const of = document.createElement('b');
    of.textContent = entry.of + '  ';
    node.append(of, entry.text);
    pre.append(node);
    while (pre.childElementCount > KEPT) pre.firstElementChild.remove();
    show('log', true);
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  }

  // The address stays: the app answers where this page stood.
  function enter() {
    if (!app || leaving) return;
    leaving = true;
    say('title', 'Opening');
    setTimeout(() => location.reload(), 150);
  }

  function connect() {
    const source = new EventSource(base + '_space/events?app=' + encodeURIComponent(app));
    let open = false;
    source.onopen = () => {
      open = true; failures = 0; lostSince = 0; lastSeq = -1;
      el('lines').replaceChildren();
      show('lost', false);
    };
    source.addEventListener('status', (event) => { status = JSON.parse(event.data); received = Date.now(); draw(); });
    source.addEventListener('line', (event) => line(JSON.parse(event.data)));
    source.addEventListener('open', enter);
    source.onerror = () => {
      source.close();
      failures += 1;
      lostSince = lostSince || Date.now();
      if (!open) elsewhere();
      setTimeout(connect, Math.min(5000, 400 * failures));
    };
  }

  // The stream is refused but the space answers: the session has ended, so this page shall ask for a new one.
  function elsewhere() {
    fetch(base + '_space/livez', { cache: 'no-store' }).then((answer) => {
      if (answer.ok && Date.now() - opened > 5000 && !leaving) { leaving = true; location.reload(); }
    }).catch(() => {});
  }

  el('keep').addEventListener('click', () => {
    const button = el('keep');
    button.disabled = true;
    fetch(base + '_space/keep', { method: 'POST', body: new URLSearchParams({ minutes: '60' }) })
      .then((answer) => answer.ok ? null : answer.text().then((why) => say('notice-text', upper(why.trim()))))
      .catch(() => {})
      .then(() => { button.disabled = false; });
  });

  setInterval(() => {
    if (lostSince && Date.now() - lostSince > 3000) {
      show('lost', true);
      show('bar', false); show('notice', false);
      say('phase', 'Not reachable');
      say('title', status && (status.phase === 'stopping' || status.phase === 'stopped') ? 'This space has stopped' : 'No connection');
    } else if (!lostSince) draw();
  }, 1000);
  connect();
})();
