//! What people do with container networks, told from the beginning to the end on a throw-away host: each test is one story,
//! and prints its lines as they were typed. `cargo xtask test stories` runs them all.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test, and the panic says which")]

mod story;

use story::Story;

#[test]
fn two_servers_on_the_default_network_reach_each_other_by_address() {
    let story = Story::begin("Two servers on the default network reach each other by address");
    story.host("netdp run -d --name one -- python3 -m http.server 80");
    story.host("netdp run -d --name two -- python3 -m http.server 80");
    story.host("netdp ps");
    let (one, two) = (story.address_in("bridge", "one"), story.address_in("bridge", "two"));
    story.inside("one", &format!("ping -c 1 -W 2 {two}"));
    story.inside("two", &format!("ping -c 1 -W 2 {one}"));
    story.soon("one", &format!("netdp exec one -- curl -sS -o /dev/null -w '%{{http_code}}' http://{two}/"));
    story.soon("two", &format!("netdp exec two -- curl -sS -o /dev/null -w '%{{http_code}}' http://{one}/"));
}

#[test]
fn a_custom_network_with_its_own_subnet_knows_names_both_ways() {
    let story = Story::begin("A custom network, 192.168.0.0/16: ping by name, both ways");
    story.host("netdp network create -d bridge --subnet 192.168.0.0/16 --gateway 192.168.0.1 mynet");
    story.host("netdp run -d --name tomcat01 --network mynet -- sleep 300");
    story.host("netdp run -d --name tomcat02 --network mynet -- sleep 300");
    story.host("netdp network inspect mynet");
    assert_eq!(story.address_in("mynet", "tomcat01"), "192.168.0.2");
    assert_eq!(story.address_in("mynet", "tomcat02"), "192.168.0.3");
    story.inside("tomcat01", "ping -c 1 -W 2 tomcat02");
    story.inside("tomcat02", "ping -c 1 -W 2 tomcat01");
    story.inside("tomcat02", "ping -c 1 -W 2 192.168.0.2");
}

#[test]
fn a_container_of_the_default_network_is_connected_to_a_custom_one() {
    let story = Story::begin(
        "A container of the default network is connected to a custom network, and pings by name",
    );
    story.host("netdp network create --subnet 192.168.0.0/16 --gateway 192.168.0.1 mynet");
    story.host("netdp run -d --name inside --network mynet -- sleep 300");
    story.host("netdp run -d --name guest -- sleep 300");
    story.inside_fails("guest", "ping -c 1 -W 1 inside");
    story.host("netdp network connect mynet guest");
    story.inside("guest", "ping -c 1 -W 2 inside");
    story.inside("inside", "ping -c 1 -W 2 guest");
    story.inside("guest", "ip -brief address");
    story.host("netdp network disconnect mynet guest");
    story.inside_fails("guest", "ping -c 1 -W 1 inside");
}

#[test]
fn two_networks_cannot_reach_each_other() {
    let story = Story::begin("Two networks cannot reach each other");
    story.host("netdp network create red");
    story.host("netdp network create blue");
    story.host("netdp run -d --name r1 --network red -- python3 -m http.server 80");
    story.host("netdp run -d --name r2 --network red -- sleep 300");
    story.host("netdp run -d --name b1 --network blue -- sleep 300");
    let r1 = story.address_in("red", "r1");
    story.soon("r2", "netdp exec r2 -- curl -sS -m 2 -o /dev/null -w '%{http_code}' http://r1/");
    story.inside_fails("b1", &format!("ping -c 1 -W 1 {r1}"));
    story.inside_fails("b1", &format!("curl -sS -m 2 http://{r1}/"));
    story.inside_fails("b1", "ping -c 1 -W 1 r1");
    let drops = story.host("netdp drops");
    assert!(drops.contains("inter_network"), "the drop has its reason: {drops}");
}

#[test]
fn a_link_leads_one_way() {
    let story = Story::begin("--link: one way");
    story.host("netdp run -d --name db --expose 5432 -- sleep 300");
    story.host("netdp run -d --name app --link db:database -- sleep 300");
    story.inside("app", "cat /etc/hosts");
    story.inside("app", "ping -c 1 -W 2 database");
    story.inside("app", "ping -c 1 -W 2 db");
    story.inside_fails("db", "ping -c 1 -W 1 app");
    let environment = story.host("netdp run --rm --link db:database -- sh -c 'env | grep ^DATABASE'");
    let db = story.address_in("bridge", "db");
    for line in [
        format!("DATABASE_PORT_5432_TCP_ADDR={db}"),
        "DATABASE_PORT_5432_TCP_PORT=5432".to_owned(),
        format!("DATABASE_PORT=tcp://{db}:5432"),
    ] {
        assert!(environment.lines().any(|it| it == line), "{line} is missing:\n{environment}");
    }
}

#[test]
fn host_none_and_container_modes() {
    let story = Story::begin("Modes: host, none, container:NAME");
    let links = story.host("netdp run --rm --network host -- ip -brief link");
    assert!(links.contains("up0") && links.contains("netdp0"), "the host's own interfaces: {links}");
    let links = story.host("netdp run --rm --network none -- ip -brief link");
    assert_eq!(links.lines().count(), 1, "lo alone: {links}");
    story.host("netdp run -d --name web -- python3 -m http.server 80");
    let there = story.host("netdp run --rm --network container:web -- ip -4 -brief address show dev eth0");
    assert!(there.contains(&story.address_in("bridge", "web")), "{there}");
    story.soon(
        "host",
        "netdp run --rm --network container:web -- curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1/",
    );
    let told = story.host_fails("netdp run --rm --network container:web -p 8080:80 -- true");
    assert!(told.contains("conflicting options"), "{told}");
}

#[test]
fn exposed_ports_are_published_on_free_ports_of_the_host() {
    let story = Story::begin("-P publishes two exposed ports");
    story.host(
        "netdp run -d --name web -P --expose 80 --expose 81 -- \
         sh -c 'python3 -m http.server 80 & exec python3 -m http.server 81'",
    );
    let ports = story.host("netdp port web");
    let mut found = 0;
    for (port, at) in ports.lines().filter_map(|line| line.split_once(" -> ")) {
        assert!(port == "80/tcp" || port == "81/tcp", "{ports}");
        if let Some(number) = at.strip_prefix("0.0.0.0:") {
            let url = format!("http://{}:{number}/", story.address());
            story.soon("outside", &format!("curl -sS -m 2 -o /dev/null -w '%{{http_code}}' {url}"));
            found += 1;
        }
    }
    assert_eq!(found, 2, "{ports}");
}

/// What nginx is told: all that comes to it goes to the backend, which the network's name server knows by its name.
const REVERSE_PROXY: &str = "daemon off; pid /dev/null; error_log stderr; events {} \
    http { access_log off; client_body_temp_path /tmp; proxy_temp_path /tmp; fastcgi_temp_path /tmp; \
    uwsgi_temp_path /tmp; scgi_temp_path /tmp; \
    server { listen 80; location / { proxy_pass http://backend:5000; } } }";

#[test]
fn a_reverse_proxy_in_front_of_a_backend_by_its_name() {
    let story = Story::begin(
        "nginx as reverse proxy in front of a Python backend by its name, published on port 8080",
    );
    story.host("netdp network create shop");
    story.host(
        "mkdir -p $NETDP_STATE_DIR/www && echo 'hello from the backend' > $NETDP_STATE_DIR/www/index.html && \
         netdp run -d --name backend --network shop -- \
         python3 -m http.server --directory $NETDP_STATE_DIR/www 5000",
    );
    story.soon("host", "netdp run --rm --network shop -- curl -sS -m 2 http://backend:5000/");
    story.host(&format!(
        "echo '{REVERSE_PROXY}' > $NETDP_STATE_DIR/nginx.conf && \
         netdp run -d --name proxy --network shop -p 8080:80 -- nginx -c $NETDP_STATE_DIR/nginx.conf"
    ));
    story.host("netdp ps");
    story.host("netdp port proxy");
    let address = story.address();
    for (place, url) in [
        ("outside", format!("http://{address}:8080/")),
        ("host", "http://127.0.0.1:8080/".to_owned()),
        ("host", format!("http://{address}:8080/")),
    ] {
        let page = story.soon(place, &format!("curl -sS -m 3 {url}"));
        assert_eq!(page, "hello from the backend\n", "{place}");
    }
}
